// Package cgroup reads limits and statistics of a cgroup, with the same calls for v1, hybrid and v2
// hierarchies. Files stay open and are read with pread. Values are never cached, since limits
// change at any time.
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

// ErrNoController means that the controller is not mounted, or not enabled for the cgroup.
var ErrNoController = errors.New("cgroup controller not available")

// controllers are the names in the options of a v1 mount and in /proc/<pid>/cgroup. On v2 some of
// them are always available.
var controllers = []string{"memory", "cpu", "cpuacct", "cpuset", "blkio", "pids", "hugetlb"}

type hierarchy struct {
	v2 bool
	// dir is the mount point, root the cgroup that is mounted there.
	dir, root string
	// names are the controllers of a v1 hierarchy.
	names []string
}

// FS is the set of cgroup hierarchies of this host.
type FS struct {
	hierarchies []hierarchy
	// index holds the index of each v1 controller's hierarchy.
	index map[string]int
	// unified is the index of the v2 hierarchy, or -1.
	unified   int
	hugePages []hugePageSize
	// roots holds, for each hierarchy, the cgroup at the mount point as a chain, whose open files
	// all groups share. Containers are there if their runtime does not use a v1 hierarchy.
	roots [][]level
}

// Detect returns the hierarchies in a mount table (/proc/self/mountinfo), or an error if there is
// none. root is prepended to all paths, and is empty except in tests.
func Detect(table []byte, root string) (*FS, error) {
	mounts, err := mountinfo.GetMountsFromReader(bytes.NewReader(table), nil)
	if err != nil {
		return nil, fmt.Errorf("parse mount table: %w", err)
	}
	fs := &FS{unified: -1, index: make(map[string]int)}
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
		return nil, errors.New("no cgroup hierarchy with a controller is mounted")
	}
	for _, h := range fs.hierarchies {
		fs.roots = append(fs.roots, h.levels(h.dir))
	}
	fs.hugePages = hugePageSizes(root + "/sys/kernel/mm/hugepages")
	return fs, nil
}

// isHidden reports whether a later mount covers the one at index: on the same mount point, or above
// it. Its ancestors, found by parents, do not cover it: an initramfs mounts /sys before the root
// file system, to which /sys is then moved.
func isHidden(mounts []*mountinfo.Info, index int, parents map[int]int) bool {
	m := mounts[index]
	ancestors := make(map[int]bool)
	for id := m.Parent; !ancestors[id]; id = parents[id] {
		ancestors[id] = true
	}
	return slices.ContainsFunc(mounts[index+1:], func(later *mountinfo.Info) bool {
		return isBelow(m.Mountpoint, later.Mountpoint) && !ancestors[later.ID]
	})
}

// add adds the hierarchy of a mount, or replaces it if the mount shows a larger part of it.
func (fs *FS) add(m *mountinfo.Info, root string) {
	h := hierarchy{v2: m.FSType == "cgroup2", dir: root + m.Mountpoint, root: m.Root}
	if !h.v2 {
		for option := range strings.SplitSeq(m.VFSOptions, ",") {
			if slices.Contains(controllers, option) {
				h.names = append(h.names, option)
			}
		}
		if len(h.names) == 0 {
			return // a named hierarchy without controllers
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
		fs.index[name] = index
	}
}

// indexOf returns the index of a controller's hierarchy, or -1. On a hybrid host v1 has precedence.
func (fs *FS) indexOf(controller string) int {
	if i, ok := fs.index[controller]; ok {
		return i
	}
	return fs.unified
}

// HasV2 reports whether the v2 hierarchy is mounted, alone or beside those of v1.
func (fs *FS) HasV2() bool { return fs.unified >= 0 }

// dirOf returns the directory of a cgroup, or "" if it is outside the mounted part of the
// hierarchy. Paths outside the caller's cgroup namespace begin with "/.." (cgroup_namespaces(7)),
// and must not lead out of the mount.
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

// Dirs returns the directories of the known paths that are in the mounted part of a hierarchy.
func (fs *FS) Dirs(p Paths) (dirs []string) {
	for i, path := range p.of {
		if dir := fs.hierarchies[i].dirOf(path); path != "" && dir != "" {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}
