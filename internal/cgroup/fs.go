// Package cgroup reads the figures of a control group on cgroup v1, hybrid and v2 behind one set of questions. Files are
// opened once and read with pread; a figure is never kept, since limits change at any time.
package cgroup

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"
)

// ErrNoController is the answer to a question whose controller the host does not have, or not for this cgroup.
var ErrNoController = errors.New("cgroup controller is not there")

// controller is a resource controller, or a set of statistics that v1 has a hierarchy for.
type controller int

const (
	ctrlMemory controller = iota
	ctrlCPU
	ctrlCPUAcct
	ctrlCPUSet
	ctrlIO
	ctrlPids
	ctrlHugeTLB
	controllers // their number
)

// v1Names are the names of the controllers in the options of a v1 mount and in /proc/<pid>/cgroup.
var v1Names = [controllers]string{"memory", "cpu", "cpuacct", "cpuset", "blkio", "pids", "hugetlb"}

// hierarchy is a mounted hierarchy.
type hierarchy struct {
	v2 bool
	// dir is where it is mounted, root the cgroup that is to be seen there.
	dir, root string
	// names are the controllers of a v1 hierarchy.
	names []string
}

// FS is the set of cgroup hierarchies of this host.
type FS struct {
	hierarchies []hierarchy
	// of has, for each controller, the index of its hierarchy, -1 where it has none. On a hybrid host v1 goes first.
	of [controllers]int
	// unified is the index of the v2 hierarchy, -1 where there is none.
	unified   int
	hugePages []hugePageSize
	// tops has, for each hierarchy, the cgroup at its mount point as a chain. All groups that are there share its files: on v1
	// that is where containers are whose runtime knows nothing of a hierarchy.
	tops [][]level
}

// Detect finds the hierarchies in the mount table, the text of /proc/self/mountinfo. root is put before every path; it is
// empty but in tests. It fails where no hierarchy is mounted.
func Detect(table []byte, root string) (*FS, error) {
	mounts, err := mountinfo.GetMountsFromReader(bytes.NewReader(table), nil)
	if err != nil {
		return nil, fmt.Errorf("parse mount table: %w", err)
	}
	fs := &FS{unified: -1}
	for c := range fs.of {
		fs.of[c] = -1
	}
	parents := make(map[int]int, len(mounts))
	for _, m := range mounts {
		parents[m.ID] = m.Parent
	}
	for i, m := range mounts {
		if (m.FSType == "cgroup" || m.FSType == "cgroup2") && !isHidden(mounts, i, parents) {
			fs.add(m, root)
		}
	}
	if len(fs.hierarchies) == 0 {
		return nil, errors.New("no cgroup file system with a resource controller is mounted")
	}
	for c := range fs.of {
		if fs.of[c] < 0 {
			fs.of[c] = fs.unified
		}
	}
	for _, h := range fs.hierarchies {
		fs.tops = append(fs.tops, []level{{v2: h.v2, dir: h.dir}})
	}
	fs.hugePages = hugePageSizes(root + "/sys/kernel/mm/hugepages")
	return fs, nil
}

// isHidden tells whether a mount that comes after the one at index covers it: at the same place, or further up. parents
// has the parent of each mount. An initial RAM disk mounts /sys before the root that it is then moved to: what a mount is
// mounted on does not cover it.
func isHidden(mounts []*mountinfo.Info, index int, parents map[int]int) bool {
	m := mounts[index]
	below := make(map[int]bool)
	for id := m.Parent; !below[id]; id = parents[id] {
		below[id] = true
	}
	return slices.ContainsFunc(mounts[index+1:], func(later *mountinfo.Info) bool {
		return isBelow(m.Mountpoint, later.Mountpoint) && !below[later.ID]
	})
}

// add takes a mount in, if it shows a hierarchy that is not known yet, or more of one.
func (fs *FS) add(m *mountinfo.Info, root string) {
	h := hierarchy{v2: m.FSType == "cgroup2", dir: root + m.Mountpoint, root: m.Root}
	if !h.v2 {
		for option := range strings.SplitSeq(m.VFSOptions, ",") {
			if slices.Contains(v1Names[:], option) {
				h.names = append(h.names, option)
			}
		}
		if len(h.names) == 0 {
			return // a named hierarchy, which only groups processes
		}
	}
	for i, known := range fs.hierarchies {
		if known.v2 == h.v2 && slices.Equal(known.names, h.names) {
			if len(h.root) < len(known.root) {
				fs.hierarchies[i] = h
			}
			return
		}
	}
	fs.hierarchies = append(fs.hierarchies, h)
	index := len(fs.hierarchies) - 1
	if h.v2 {
		fs.unified = index
	}
	for _, name := range h.names {
		fs.of[slices.Index(v1Names[:], name)] = index
	}
}

// HasV2 tells whether the v2 hierarchy is mounted, alone or beside those of v1.
func (fs *FS) HasV2() bool { return fs.unified >= 0 }

// dirOf is the directory of a cgroup, "" where it is not to be seen in the mounted part of the hierarchy. Both paths begin
// with "/.." for what lies outside our own cgroup namespace (cgroup_namespaces(7)); no such part may lead out of the mount.
func (h *hierarchy) dirOf(cgroup string) string {
	if !isBelow(cgroup, h.root) {
		return ""
	}
	below := cgroup[len(strings.TrimSuffix(h.root, "/")):]
	if isBelow(below, "/..") {
		return ""
	}
	return path.Join(h.dir, below)
}
