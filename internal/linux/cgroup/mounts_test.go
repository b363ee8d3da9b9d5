package cgroup

import (
	"fmt"
	"strings"
	"testing"
)

// TestDirOf has cgroups outside the caller's cgroup namespace: they must not map to a directory
// outside the mount.
func TestDirOf(t *testing.T) {
	tests := []struct{ name, root, path, want string }{
		{"below the root", "/", "/a", "/m/a"},
		{"the root", "/", "/", "/m"},
		{"beside the namespace", "/", "/../a", ""},
		{"above the namespace", "/", "/..", ""},
		{"two above", "/", "/../../a/b", ""},
		{"name with leading dots", "/", "/..a/...", "/m/..a/..."},
		{"mount of a sibling namespace", "/..", "/../a", "/m/a"},
		{"above the mounted part", "/..", "/../../a", ""},
		{"cgroup inside, mount above", "/..", "/a", ""},
		{"mount of a part", "/a", "/a/b", "/m/b"},
		{"root of the part", "/a", "/a", "/m"},
		{"prefix of another name", "/a", "/ab", ""},
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

// TestHiddenMounts has mounts that a later mount covers, which must be ignored.
func TestHiddenMounts(t *testing.T) {
	const (
		sysfs   = "23 60 0:22 / /sys rw - sysfs sysfs rw\n"
		early   = "24 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
		tmpfs   = "31 23 0:27 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n"
		overIt  = "31 24 0:27 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n"
		rootfs  = "60 1 253:0 / / rw - ext4 /dev/vda rw\n"
		covered = "30 23 0:29 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
		another = "70 23 0:28 / /mnt/cgroup2 rw - cgroup2 cgroup2 rw\n"
	)
	tests := []struct {
		name, mounts, memory, unified string
	}{
		// An initramfs mounts /sys before the root file system.
		{"root mounted later", sysfs + early + rootfs, "/sys/fs/cgroup", "/sys/fs/cgroup"},
		{
			"v2 below a tmpfs with v1", rootfs + sysfs + early + overIt + v1Memory,
			"/sys/fs/cgroup/memory", "",
		},
		{
			"v2 below a tmpfs, and again on it", rootfs + sysfs + early + overIt + v1Memory + hybrid,
			"/sys/fs/cgroup/memory", "/sys/fs/cgroup/unified",
		},
		{
			"v2 below a tmpfs with v2", rootfs + sysfs + early + tmpfs + hybrid,
			"/sys/fs/cgroup/unified", "/sys/fs/cgroup/unified",
		},
		{
			"v1 mounted before a tmpfs covers it", rootfs + sysfs + covered + tmpfs + another,
			"/mnt/cgroup2", "/mnt/cgroup2",
		},
		{
			"covered, then mounted again", rootfs + sysfs + covered + tmpfs + v1Memory,
			"/sys/fs/cgroup/memory", "",
		},
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
			memory := fs.hierarchies[fs.indexOf("memory")].dir
			if memory != tt.memory || unified != tt.unified {
				t.Errorf("got %q and %q, want %q and %q", memory, unified, tt.memory, tt.unified)
			}
		})
	}
}

// TestMountCycle has a malformed table with a cycle of parents: Detect must terminate.
func TestMountCycle(t *testing.T) {
	const n = 1000
	var table strings.Builder
	for i := range n {
		fmt.Fprintf(&table, "%d %d 0:28 / /m rw - cgroup2 cgroup2 rw\n", i, (i+1)%n)
	}
	if _, err := Detect([]byte(table.String()), ""); err != nil {
		t.Fatal(err)
	}
}
