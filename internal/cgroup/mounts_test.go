package cgroup

import (
	"fmt"
	"strings"
	"testing"
)

// TestOutsideTheMount has cgroups that are seen from a cgroup namespace that they are not in: no directory stands for
// them, above all none outside the mount.
func TestOutsideTheMount(t *testing.T) {
	tests := []struct{ name, root, path, want string }{
		{"below the root", "/", "/a", "/m/a"},
		{"the root", "/", "/", "/m"},
		{"beside the namespace", "/", "/../a", ""},
		{"above the namespace", "/", "/..", ""},
		{"two above", "/", "/../../a/b", ""},
		{"a name that begins with dots", "/", "/..a/...", "/m/..a/..."},
		{"the mount shows what is beside", "/..", "/../a", "/m/a"},
		{"above what the mount shows", "/..", "/../../a", ""},
		{"the mount is above, the cgroup inside", "/..", "/a", ""},
		{"a part", "/a", "/a/b", "/m/b"},
		{"the part itself", "/a", "/a", "/m"},
		{"beside the part, and of a longer name", "/a", "/ab", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := hierarchy{v2: true, dir: "/m", root: tt.root}
			if got := h.dirOf(tt.path); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if levels := h.chain(tt.path); (len(levels) > 0) != (tt.want != "") {
				t.Errorf("%d levels", len(levels))
			}
		})
	}
}

// TestHiddenMounts has mounts that another mount covers: what is to be seen at their place is something else.
func TestHiddenMounts(t *testing.T) {
	const (
		sysfs   = "23 60 0:22 / /sys rw - sysfs sysfs rw\n"
		early   = "24 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
		tmpfs   = "31 23 0:27 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n"
		overIt  = "31 24 0:27 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n"
		rootfs  = "60 1 253:0 / / rw - ext4 /dev/vda rw\n"
		covered = "30 23 0:29 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n" // beside the tmpfs, not on it
		another = "70 23 0:28 / /mnt/cgroup2 rw - cgroup2 cgroup2 rw\n"
	)
	tests := []struct {
		name, mounts, memory, unified string
	}{
		// An initial RAM disk mounts /sys and what is in it before the root that it is then below.
		{"the root comes later", sysfs + early + rootfs, "/sys/fs/cgroup", "/sys/fs/cgroup"},
		{"v2 below a tmpfs with v1", rootfs + sysfs + early + overIt + v1Memory, "/sys/fs/cgroup/memory", ""},
		{"v2 below, and again beside", rootfs + sysfs + early + overIt + v1Memory + hybrid, "/sys/fs/cgroup/memory", "/sys/fs/cgroup/unified"},
		{"below a mount further up", rootfs + sysfs + early + tmpfs + hybrid, "/sys/fs/cgroup/unified", "/sys/fs/cgroup/unified"},
		{"v1 mounted before what covers it", rootfs + sysfs + covered + tmpfs + another, "/mnt/cgroup2", "/mnt/cgroup2"},
		{"covered, then mounted anew", rootfs + sysfs + covered + tmpfs + v1Memory, "/sys/fs/cgroup/memory", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			fs, err := Detect([]byte(tt.mounts), "")
			if err != nil {
				t.Fatal(err)
			}
			unified := ""
			if fs.unified >= 0 {
				unified = fs.hierarchies[fs.unified].dir
			}
			if memory := fs.hierarchies[fs.of[ctrlMemory]].dir; memory != tt.memory || unified != tt.unified {
				t.Errorf("memory is at %q, v2 at %q; want %q and %q", memory, unified, tt.memory, tt.unified)
			}
		})
	}
}

// TestCircleOfMounts has a table that no kernel writes, with each mount on the next: it must come to an end, soon.
func TestCircleOfMounts(t *testing.T) {
	const n = 1000
	var table strings.Builder
	for i := range n {
		fmt.Fprintf(&table, "%d %d 0:28 / /m rw - cgroup2 cgroup2 rw\n", i, (i+1)%n)
	}
	if _, err := Detect([]byte(table.String()), ""); err != nil {
		t.Fatal(err)
	}
}
