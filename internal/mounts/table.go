// Package mounts puts the files of lxcfs into the /proc and /sys of other mount namespaces, and takes them out again. What
// is mounted where is known from the mount table of a process alone: a file system whose server is dead or hangs is
// never asked.
package mounts

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/moby/sys/mountinfo"

	"palisade/internal/sys"
)

// FSType is what a mount table calls an lxcfs.
const FSType = "fuse.lxcfs"

// maxTable bounds the mount table of another process, in bytes: whoever may mount can make it as long as he likes, and the
// kernel allows 100,000 mounts (fs.mount-max) with lines of tens of kilobytes. It is enough for as many of the usual length.
const maxTable = 16 << 20

// ErrTooLarge is the error for a mount table that is larger.
var ErrTooLarge = fmt.Errorf("its mount table has more than %d MiB", maxTable>>20)

// tableTime is how long the kernel may take to write the mount table of another process: for each
// of n mounts that lie on one another it walks through all below.
const tableTime = time.Second

// Mount is a line of a mount table, /proc/<pid>/mountinfo.
type Mount = mountinfo.Info

// Table is the mount table of a process.
type Table struct {
	all  []*Mount
	byID map[int]*Mount
	// on lists what is mounted directly on something of a mount, by its ID; at has the first of them at each spot.
	on map[int][]*Mount
	at map[spot]*Mount
	// others are the file systems of other lxcfs, which are none of ours.
	others map[sys.DeviceNumber]bool
}

// spot is a path, as the table has it, of the mount with the ID base.
type spot struct {
	base  int
	point string
}

// ReadTable reads the mount table of the process whose directory in /proc is process. It fails with ErrTooLarge where that is
// too large, and with os.ErrDeadlineExceeded where it takes longer than tableTime.
func ReadTable(process sys.File) (*Table, error) {
	text, err := process.ReadSomeUntil("mountinfo", maxTable+1, time.Now().Add(tableTime))
	if err == nil && len(text) > maxTable {
		return nil, ErrTooLarge
	} else if errors.Is(err, os.ErrDeadlineExceeded) {
		err = fmt.Errorf("it takes longer than %v: %w", tableTime, err)
	}
	return parseRead(text, err)
}

func parseRead(text []byte, err error) (*Table, error) {
	if err != nil {
		return nil, fmt.Errorf("read the mount table: %w", err)
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
		return nil, fmt.Errorf("parse the mount table: %w", err)
	}
	t := &Table{all: all, byID: make(map[int]*Mount, len(all)), on: make(map[int][]*Mount), at: make(map[spot]*Mount, len(all))}
	for _, m := range all {
		t.byID[m.ID] = m
		t.on[m.Parent] = append(t.on[m.Parent], m)
		// What is at the top of the tree is called its own parent, and lies on nothing.
		if at := (spot{m.Parent, m.Mountpoint}); m.ID != m.Parent && t.at[at] == nil {
			t.at[at] = m
		}
	}
	return t, nil
}

// withoutLong is the text without the lines that are too long for the parser. They are of none of the file systems that matter
// here: those have few options, and paths of PATH_MAX at the most, each byte of which may be written as four.
func withoutLong(text []byte) []byte {
	short := make([]byte, 0, len(text))
	for line := range bytes.Lines(text) {
		if len(line) < bufio.MaxScanTokenSize {
			short = append(short, line...)
		}
	}
	return short
}

// Top is what is mounted on point, the topmost of several; nil if nothing is.
func (t *Table) Top(point string) *Mount {
	var top *Mount
	for _, m := range t.all {
		if m.Mountpoint == point && t.cover(m) == nil {
			top = m
		}
	}
	return top
}

// Holding returns the mount on which the directory dir is: the deepest one that can be seen.
func (t *Table) Holding(dir string) *Mount {
	for ; ; dir = path.Dir(dir) {
		if m := t.Top(dir); m != nil || len(dir) <= 1 {
			return m
		}
	}
}

// Lxcfs returns the mounts of the lxcfs with the device that can be seen, the last mounted first.
func (t *Table) Lxcfs(device sys.DeviceNumber) []*Mount {
	var found []*Mount
	for _, m := range slices.Backward(t.all) {
		if m.FSType == FSType && Device(m) == device && t.Top(m.Mountpoint) == m {
			found = append(found, m)
		}
	}
	return found
}

// Below are the mount points of all that is mounted below dir, one for each mount, the last mounted first.
func (t *Table) Below(dir string) []string {
	var points []string
	for _, m := range slices.Backward(t.all) {
		if strings.HasPrefix(m.Mountpoint, dir+"/") {
			points = append(points, m.Mountpoint)
		}
	}
	return points
}

// cover is the mount that lies on the root of m, and so hides all of it.
func (t *Table) cover(m *Mount) *Mount { return t.at[spot{m.ID, m.Mountpoint}] }

// stack is what is mounted on point, a file or directory of the mount base itself: from the lowest to the topmost.
func (t *Table) stack(base *Mount, point string) []*Mount {
	var stack []*Mount
	for m := t.at[spot{base.ID, point}]; m != nil && len(stack) < len(t.all); m = t.cover(m) {
		stack = append(stack, m)
	}
	return stack
}

// isLxcfs tells whether m is of an lxcfs, dead or alive, that is not another's.
func (t *Table) isLxcfs(m *Mount) bool { return m != nil && m.FSType == FSType && !t.others[Device(m)] }

// onTop returns the number of mounts of lxcfs at the end of the stack that can be taken away or
// replaced. One in which something else is mounted cannot: that would go with it.
func (t *Table) onTop(stack []*Mount) int {
	n := 0
	for n < len(stack) && t.isLxcfs(stack[len(stack)-1-n]) && !t.hasForeign(stack[len(stack)-1-n]) {
		n++
	}
	return n
}

// hasForeign reports whether something that is not lxcfs's is mounted on a file in m.
func (t *Table) hasForeign(m *Mount) bool {
	return slices.ContainsFunc(t.on[m.ID], func(child *Mount) bool {
		return child.Mountpoint != m.Mountpoint && child.ID != m.ID && !t.isLxcfs(child)
	})
}

// below returns the stacks on files and directories of the mount base itself below point.
func (t *Table) below(base *Mount, point string) (stacks [][]*Mount) {
	for _, m := range t.on[base.ID] {
		if strings.HasPrefix(m.Mountpoint, point+"/") && m == t.at[spot{base.ID, m.Mountpoint}] {
			stacks = append(stacks, t.stack(base, m.Mountpoint))
		}
	}
	return stacks
}

// isHidden reports whether a mount on a directory above point, of the mount base itself, hides it.
func (t *Table) isHidden(base *Mount, point string) bool {
	for dir := path.Dir(point); len(dir) > max(len(base.Mountpoint), 1); dir = path.Dir(dir) {
		if t.at[spot{base.ID, dir}] != nil {
			return true
		}
	}
	return false
}

// OtherLxcfs are the file systems of the lxcfs that are mounted on the host elsewhere than on mountpoint.
func (t *Table) OtherLxcfs(mountpoint string) map[sys.DeviceNumber]bool {
	others := make(map[sys.DeviceNumber]bool)
	for _, m := range t.all {
		if m.FSType == FSType && m.Root == "/" && m.Mountpoint != mountpoint {
			others[Device(m)] = true
		}
	}
	for _, m := range t.all {
		if m.Mountpoint == mountpoint {
			delete(others, Device(m)) // its own, which can be seen elsewhere too
		}
	}
	return others
}

// isKernelFS tells whether m is a procfs or sysfs as a whole.
func isKernelFS(m *Mount) bool {
	return m != nil && (m.FSType == "proc" || m.FSType == "sysfs") && m.Root == "/"
}

// Device is the number by which the kernel tells a mounted file system from all others.
func Device(m *Mount) sys.DeviceNumber {
	return sys.DeviceNumber{Major: uint32(m.Major), Minor: uint32(m.Minor)}
}

// PeerGroup is the peer group with which m shares what is mounted below it, 0 if it shares nothing.
func PeerGroup(m *Mount) int {
	for field := range strings.FieldsSeq(m.Optional) {
		var group int
		if n, err := fmt.Sscanf(field, "shared:%d", &group); n == 1 && err == nil {
			return group
		}
	}
	return 0
}

// site is a place of kernel's file systems at which lxcfs is mounted.
type site struct {
	base  *Mount // the procfs or sysfs
	point string
	stack []*Mount
	// dir is the directory that holds it, once it has been opened.
	dir sys.File
}

// sites are all places of procfs and sysfs at which a stack of mounts has an lxcfs, the deepest first.
func (t *Table) sites() []site {
	var sites []site
	for i := len(t.all) - 1; i >= 0; i-- {
		base := t.all[i]
		if !isKernelFS(base) {
			continue
		}
		for _, m := range t.on[base.ID] {
			if m.Mountpoint == base.Mountpoint || m != t.at[spot{base.ID, m.Mountpoint}] {
				continue // it hides the whole; or the place has been seen
			}
			stack := t.stack(base, m.Mountpoint)
			for _, s := range stack {
				if t.isLxcfs(s) {
					sites = append(sites, site{base: base, point: m.Mountpoint, stack: stack})
					break
				}
			}
		}
	}
	return sites
}

// HasLxcfs reports whether the table has an lxcfs mount with this ID.
func (t *Table) HasLxcfs(id int) bool {
	m := t.byID[id]
	return m != nil && m.FSType == FSType
}

// Mountpoints are those of all lxcfs that are mounted as a whole.
func (t *Table) Mountpoints() []string {
	var points []string
	for _, m := range t.all {
		if m.FSType == FSType && m.Root == "/" && !slices.Contains(points, m.Mountpoint) {
			points = append(points, m.Mountpoint)
		}
	}
	return points
}
