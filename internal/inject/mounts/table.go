// Package mounts mounts the files of lxcfs on /proc and /sys of other mount namespaces, and
// unmounts them. It learns from mount tables alone what is mounted: a file system whose server is
// dead or hangs is never accessed.
package mounts

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/moby/sys/mountinfo"

	"palisade/internal/linux/sys"
)

// FSType is the type of an lxcfs in mount tables.
const FSType = "fuse.lxcfs"

// maxTable bounds the mount table of another process, in bytes. A container that can mount chooses
// its length: the kernel allows 100,000 mounts (fs.mount-max) with lines of tens of kilobytes. The
// bound is enough for as many lines of the usual length.
const maxTable = 16 << 20

// ErrTooLarge is the error for a mount table larger than maxTable.
var ErrTooLarge = fmt.Errorf("mount table is larger than %d MiB", maxTable>>20)

// tableTime bounds the time in which the kernel writes the mount table of another process: n mounts
// stacked on one directory take O(n²).
const tableTime = time.Second

// Mount is a line of a mount table, /proc/<pid>/mountinfo.
type Mount = mountinfo.Info

// Table is the mount table of a process.
type Table struct {
	all  []*Mount
	byID map[int]*Mount
	// on lists the mounts on files and directories of a mount, by the ID of that mount; at has the
	// lowest mount on each of them.
	on map[int][]*Mount
	at map[mountKey]*Mount
	// others are the file systems of other lxcfs, which are left alone.
	others map[sys.DeviceNumber]bool
}

// mountKey identifies a file or directory of a mount: the ID of the mount, and the path in the
// table.
type mountKey struct {
	base  int
	point string
}

// noMount is the base of a mount whose parent is not in the table.
const noMount = -1

// ReadTable reads the mount table of a process, given its directory in /proc. It fails with
// ErrTooLarge for a table larger than 16 MiB, and with os.ErrDeadlineExceeded after tableTime.
func ReadTable(process sys.File) (*Table, error) { return readTable(process, tableTime) }

func readTable(process sys.File, limit time.Duration) (*Table, error) {
	text, err := process.ReadSomeUntil("mountinfo", maxTable+1, time.Now().Add(limit))
	if err == nil && len(text) > maxTable {
		return nil, ErrTooLarge
	} else if errors.Is(err, os.ErrDeadlineExceeded) {
		err = fmt.Errorf("read the mount table for %v: %w", limit, err)
	}
	return parseRead(text, err)
}

func parseRead(text []byte, err error) (*Table, error) {
	if err != nil {
		return nil, fmt.Errorf("read mount table: %w", err)
	}
	return ParseTable(text)
}

// OwnTable reads the mount table of this process.
func OwnTable() (*Table, error) {
	return parseRead(sys.ReadFile("/proc/thread-self/mountinfo", nil))
}

// ParseTable parses the text of /proc/<pid>/mountinfo (proc_pid_mountinfo(5)).
func ParseTable(text []byte) (*Table, error) {
	all, err := mountinfo.GetMountsFromReader(bytes.NewReader(withoutLong(text)), nil)
	if err != nil {
		return nil, fmt.Errorf("parse mount table: %w", err)
	}
	t := &Table{
		all: all, byID: make(map[int]*Mount, len(all)),
		on: make(map[int][]*Mount), at: make(map[mountKey]*Mount, len(all)),
	}
	for _, m := range all {
		t.byID[m.ID] = m
	}
	for _, m := range all {
		t.on[m.Parent] = append(t.on[m.Parent], m)
		at := mountKey{m.Parent, m.Mountpoint}
		// The root of the tree of mounts is its own parent. A process does not see the parent of the
		// mount with its root directory.
		if m.ID == m.Parent || t.byID[m.Parent] == nil {
			at.base = noMount
		}
		if t.at[at] == nil {
			t.at[at] = m
		}
	}
	return t, nil
}

// withoutLong returns the text without lines that are too long for the parser. No procfs, sysfs or
// lxcfs has such a line: they have few options, and paths of at most PATH_MAX bytes, each escaped
// as four at most.
func withoutLong(text []byte) []byte {
	short := make([]byte, 0, len(text))
	for line := range bytes.Lines(text) {
		if len(line) < bufio.MaxScanTokenSize {
			short = append(short, line...)
		}
	}
	return short
}

// Top returns the topmost mount on point, or nil. A mount that another one on a directory above
// point hides is not on it.
func (t *Table) Top(point string) *Mount {
	if m := t.Holding(point); m != nil && m.Mountpoint == point {
		return m
	}
	return nil
}

// Holding returns the mount that contains the file or directory point, or nil.
func (t *Table) Holding(point string) *Mount {
	var holding *Mount
	base := noMount
	for end := 0; end <= len(point); end++ {
		if end < len(point) && point[end] != '/' {
			continue
		}
		stack := t.stack(base, cmp.Or(point[:end], "/"))
		if len(stack) > 0 {
			holding = stack[len(stack)-1]
			base = holding.ID
		}
	}
	return holding
}

// Lxcfs returns the visible mounts of the lxcfs with the device, the last mounted first.
func (t *Table) Lxcfs(device sys.DeviceNumber) []*Mount {
	var found []*Mount
	for _, m := range slices.Backward(t.all) {
		if m.FSType == FSType && Device(m) == device && t.Top(m.Mountpoint) == m {
			found = append(found, m)
		}
	}
	return found
}

// Below returns the mount points below dir, one for each mount, the last mounted first.
func (t *Table) Below(dir string) []string {
	var points []string
	for _, m := range slices.Backward(t.all) {
		if strings.HasPrefix(m.Mountpoint, dir+"/") {
			points = append(points, m.Mountpoint)
		}
	}
	return points
}

// cover returns the mount on the root of m, which hides all of m, or nil.
func (t *Table) cover(m *Mount) *Mount { return t.at[mountKey{m.ID, m.Mountpoint}] }

// stack returns the mounts on point, a file or directory of the mount base itself, the topmost
// last.
func (t *Table) stack(base int, point string) []*Mount {
	var stack []*Mount
	for m := t.at[mountKey{base, point}]; m != nil && len(stack) < len(t.all); m = t.cover(m) {
		stack = append(stack, m)
	}
	return stack
}

// isLxcfs reports whether m is a mount of an lxcfs, dead or alive, that is not in t.others.
func (t *Table) isLxcfs(m *Mount) bool {
	return m != nil && m.FSType == FSType && !t.others[Device(m)]
}

// onTop returns the number of mounts of lxcfs at the end of the stack that can be unmounted or
// replaced. One in which something else is mounted cannot: that would be unmounted with it.
func (t *Table) onTop(stack []*Mount) int {
	n := 0
	for n < len(stack) && t.isLxcfs(stack[len(stack)-1-n]) && !t.hasForeign(stack[len(stack)-1-n]) {
		n++
	}
	return n
}

// hasForeign reports whether something other than lxcfs is mounted on a file in m.
func (t *Table) hasForeign(m *Mount) bool {
	return slices.ContainsFunc(t.on[m.ID], func(child *Mount) bool {
		return child.Mountpoint != m.Mountpoint && child.ID != m.ID && !t.isLxcfs(child)
	})
}

// below returns the stacks on files and directories of the mount base itself below point.
func (t *Table) below(base *Mount, point string) (stacks [][]*Mount) {
	for _, m := range t.on[base.ID] {
		if strings.HasPrefix(m.Mountpoint, point+"/") && m == t.at[mountKey{base.ID, m.Mountpoint}] {
			stacks = append(stacks, t.stack(base.ID, m.Mountpoint))
		}
	}
	return stacks
}

// isHidden reports whether a mount on a directory above point, of the mount base itself, hides it.
func (t *Table) isHidden(base *Mount, point string) bool {
	for dir := path.Dir(point); len(dir) > max(len(base.Mountpoint), 1); dir = path.Dir(dir) {
		if t.at[mountKey{base.ID, dir}] != nil {
			return true
		}
	}
	return false
}

// isKernelFS reports whether m is a mount of a whole procfs or sysfs.
func isKernelFS(m *Mount) bool {
	return m != nil && (m.FSType == "proc" || m.FSType == "sysfs") && m.Root == "/"
}

// Device returns the device number of the file system that m shows.
func Device(m *Mount) sys.DeviceNumber {
	return sys.DeviceNumber{Major: uint32(m.Major), Minor: uint32(m.Minor)}
}

// PeerGroup returns the peer group of m (mount_namespaces(7)), or 0 if m is not shared.
func PeerGroup(m *Mount) int {
	for field := range strings.FieldsSeq(m.Optional) {
		if id, ok := strings.CutPrefix(field, "shared:"); ok {
			group, _ := strconv.Atoi(id)
			return group
		}
	}
	return 0
}

// mountStack is a stack of mounts on a file or directory of the mount base.
type mountStack struct {
	base  *Mount
	point string // the path in the mount table
	stack []*Mount
	// dir is the directory that contains point, once it has been opened.
	dir sys.File
}

func (t *Table) stackOn(base *Mount, point string) mountStack {
	return mountStack{base: base, point: point, stack: t.stack(base.ID, point)}
}

// top returns the topmost mount, or nil.
func (s *mountStack) top() *Mount {
	if len(s.stack) == 0 {
		return nil
	}
	return s.stack[len(s.stack)-1]
}

func (s *mountStack) name() string { return path.Base(s.point) }

func (s *mountStack) unmountTop(thread *sys.NamespaceThread, c *Change) error {
	if err := thread.Unmount(s.dir, s.name()); err != nil {
		return err
	}
	c.Removed++
	s.stack = s.stack[:len(s.stack)-1]
	return nil
}

// stacks returns all stacks on procfs and sysfs that contain an lxcfs, the deepest first.
func (t *Table) stacks() []mountStack {
	var stacks []mountStack
	for _, base := range slices.Backward(t.all) {
		if !isKernelFS(base) {
			continue
		}
		for _, m := range t.on[base.ID] {
			if m.Mountpoint == base.Mountpoint || m != t.at[mountKey{base.ID, m.Mountpoint}] {
				continue // it covers base, or is not the lowest of its stack
			}
			s := t.stackOn(base, m.Mountpoint)
			if slices.ContainsFunc(s.stack, t.isLxcfs) {
				stacks = append(stacks, s)
			}
		}
	}
	return stacks
}

// HasLxcfs reports whether the table has an lxcfs mount with this ID.
func (t *Table) HasLxcfs(id int) bool {
	m := t.byID[id]
	return m != nil && m.FSType == FSType
}

// Mountpoints returns the mount points of every whole lxcfs.
func (t *Table) Mountpoints() []string {
	var points []string
	for _, m := range t.all {
		if isWhole(m) && !slices.Contains(points, m.Mountpoint) {
			points = append(points, m.Mountpoint)
		}
	}
	return points
}

// UnmountHost unmounts the lxcfs with the device from all its mount points in this mount namespace.
func UnmountHost(device sys.DeviceNumber, flags int) error {
	table, err := OwnTable()
	if err != nil {
		return err
	}
	var errs []error
	for _, m := range table.Lxcfs(device) {
		if err := sys.Unmount(m.Mountpoint, flags); err != nil && !sys.IsNotMounted(err) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
