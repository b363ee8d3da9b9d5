// Package mounts puts the files of lxcfs into the /proc and /sys of other mount namespaces, and takes them out again. What
// is mounted where is known from the mount table of a process alone: a file system whose server is dead or hangs is
// never asked.
package mounts

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"

	"palisade/internal/sys"
)

// FSType is what a mount table calls an lxcfs.
const FSType = "fuse.lxcfs"

// Mount is a line of a mount table, /proc/<pid>/mountinfo.
type Mount = mountinfo.Info

// Table is the mount table of a process.
type Table struct {
	all  []*Mount
	byID map[int]*Mount
	// on lists what is mounted directly on something of a mount, by its ID.
	on map[int][]*Mount
	// others are the file systems of other lxcfs, which are none of ours.
	others map[sys.DeviceNumber]bool
}

// ReadTable reads the mount table of the process whose directory in /proc is process.
func ReadTable(process sys.File) (*Table, error) {
	text, err := process.ReadFileAt("mountinfo", nil)
	if err != nil {
		return nil, fmt.Errorf("read the mount table: %w", err)
	}
	return ParseTable(text)
}

// OwnTable reads the mount table of this process.
func OwnTable() (*Table, error) {
	self, err := sys.OpenDir("/proc/thread-self")
	if err != nil {
		return nil, err
	}
	defer self.Close()
	return ReadTable(self)
}

// ParseTable parses the text of /proc/<pid>/mountinfo (proc_pid_mountinfo(5)).
func ParseTable(text []byte) (*Table, error) {
	all, err := mountinfo.GetMountsFromReader(bytes.NewReader(text), nil)
	if err != nil {
		return nil, fmt.Errorf("parse the mount table: %w", err)
	}
	t := &Table{all: all, byID: make(map[int]*Mount, len(all)), on: make(map[int][]*Mount)}
	for _, m := range all {
		t.byID[m.ID] = m
		t.on[m.Parent] = append(t.on[m.Parent], m)
	}
	return t, nil
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
func (t *Table) cover(m *Mount) *Mount {
	for _, c := range t.on[m.ID] {
		if c.Mountpoint == m.Mountpoint && c != m {
			return c
		}
	}
	return nil
}

// stack is what is mounted on point, a file or directory of the mount base itself: from the lowest to the topmost.
func (t *Table) stack(base *Mount, point string) []*Mount {
	var stack []*Mount
	for _, m := range t.on[base.ID] {
		if m.Mountpoint == point && m != base {
			for ; m != nil && len(stack) < len(t.all); m = t.cover(m) {
				stack = append(stack, m)
			}
			break
		}
	}
	return stack
}

// isLxcfs tells whether m is of an lxcfs, dead or alive, that is not another's.
func (t *Table) isLxcfs(m *Mount) bool { return m != nil && m.FSType == FSType && !t.others[Device(m)] }

// onTop is how many mounts of lxcfs the stack ends with.
func (t *Table) onTop(stack []*Mount) int {
	n := 0
	for n < len(stack) && t.isLxcfs(stack[len(stack)-1-n]) {
		n++
	}
	return n
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
			if m.Mountpoint == base.Mountpoint {
				continue // it hides the whole
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
