// Package cgroup reads the figures of a control group on cgroup v1, hybrid and v2 behind one set of questions. Files are
// opened once and read with pread; a figure is never kept, since limits change at any time.
package cgroup

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strconv"
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
}

type hugePageSize struct {
	bytes uint64
	name  string // as the files of the hugetlb controller have it
}

// Detect finds the hierarchies in the mount table, the text of /proc/self/mountinfo. root is put before every path; it is
// empty but in tests. It fails where no hierarchy is mounted.
func Detect(table []byte, root string) (*FS, error) {
	mounts, err := mountinfo.GetMountsFromReader(bytes.NewReader(table), mountinfo.FSTypeFilter("cgroup", "cgroup2"))
	if err != nil {
		return nil, fmt.Errorf("parse mount table: %w", err)
	}
	fs := &FS{unified: -1}
	for c := range fs.of {
		fs.of[c] = -1
	}
	for _, m := range mounts {
		fs.add(m, root)
	}
	if len(fs.hierarchies) == 0 {
		return nil, errors.New("no cgroup file system with a resource controller is mounted")
	}
	for c := range fs.of {
		if fs.of[c] < 0 {
			fs.of[c] = fs.unified
		}
	}
	fs.hugePages = hugePageSizes(root + "/sys/kernel/mm/hugepages")
	return fs, nil
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

// dirOf is the directory of a cgroup, "" where it is not to be seen in the mounted part of the hierarchy.
func (h *hierarchy) dirOf(cgroup string) string {
	if h.root == "/" {
		return path.Join(h.dir, cgroup)
	}
	below, ok := strings.CutPrefix(cgroup, h.root)
	if !ok || below != "" && below[0] != '/' {
		return ""
	}
	return path.Join(h.dir, below)
}

// hugePageSizes lists the sizes of huge pages that the host knows: folders such as hugepages-2048kB.
func hugePageSizes(dir string) []hugePageSize {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil // a kernel without huge pages
	}
	var sizes []hugePageSize
	for _, e := range entries {
		digits := strings.TrimSuffix(strings.TrimPrefix(e.Name(), "hugepages-"), "kB")
		kB, err := strconv.ParseUint(digits, 10, 32)
		if err != nil || kB == 0 {
			continue
		}
		// mem_fmt() of mm/hugetlb_cgroup.c
		name := strconv.FormatUint(kB, 10) + "KB"
		if kB >= 1<<20 {
			name = strconv.FormatUint(kB>>20, 10) + "GB"
		} else if kB >= 1<<10 {
			name = strconv.FormatUint(kB>>10, 10) + "MB"
		}
		sizes = append(sizes, hugePageSize{kB << 10, name})
	}
	return sizes
}
