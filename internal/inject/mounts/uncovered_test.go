package mounts

import (
	"strings"
	"testing"
)

// TestLacksVisible checks the procfs with the ID 11 below the root /c of a starting container.
func TestLacksVisible(t *testing.T) {
	const (
		host    = "2 1 0:2 / /proc rw - proc proc rw"
		proc    = "11 10 0:11 / /c/proc rw,nosuid - proc proc rw"
		sys     = "11 10 0:11 / /c/sys ro,nosuid - sysfs sysfs ro"
		stat    = "12 11 0:42 /private/1/proc/stat /c/proc/stat rw - fuse.lxcfs lxcfs rw"
		cpu     = "12 11 0:42 /private/1/sys/devices/system/cpu /c/sys/devices/system/cpu rw - fuse.lxcfs lxcfs rw"
		binfmt  = "13 11 0:13 / /c/proc/sys/fs/binfmt_misc rw - binfmt_misc binfmt_misc rw"
		cgroup  = "13 11 0:13 / /c/sys/fs/cgroup rw - tmpfs tmpfs rw"
		mask    = "14 11 0:14 /null /c/proc/kcore rw - devtmpfs devtmpfs rw"
		ro      = "14 11 0:11 /sys /c/proc/sys ro - proc proc rw"
		second  = "20 10 0:11 / /c/dev/.lxc/proc rw,nosuid - proc proc rw"
		roOther = "20 10 0:11 / /c/dev/.lxc/proc ro,nosuid - proc proc rw"
		covered = "21 20 0:42 /proc/stat /c/dev/.lxc/proc/stat rw - fuse.lxcfs lxcfs rw"
		under   = "21 11 254:1 /x /c/proc/stat rw - ext4 /dev/vda1 rw"
		over    = "22 21 0:42 /proc/stat /c/proc/stat rw - fuse.lxcfs lxcfs rw"
		other   = "23 11 0:43 /proc/uptime /c/proc/uptime rw - fuse.lxcfs lxcfs rw"
		within  = "24 11 0:13 / /c/proc/sys/fs rw - tmpfs tmpfs rw"
	)
	for _, tt := range []struct {
		name  string
		lines []string
		want  bool
	}{
		{"not covered", []string{host, proc}, false},
		{"covered by lxcfs", []string{host, proc, stat}, true},
		{"sysfs", []string{sys, cpu}, true},
		{"mounts on empty directories", []string{host, proc, stat, binfmt}, true},
		{"cgroups", []string{sys, cpu, cgroup}, true},
		{"a masked path", []string{host, proc, stat, mask}, false},
		{"a read-only path", []string{host, proc, stat, ro}, false},
		{"a mount above an empty directory", []string{host, proc, stat, within}, false},
		{"a second procfs", []string{host, proc, stat, second}, false},
		{"a second procfs that is covered", []string{host, proc, stat, second, covered}, true},
		{"a second procfs that is read-only", []string{host, proc, stat, roOther}, true},
		{"a user's file below lxcfs's", []string{host, proc, stat, under, over}, false},
		{"another lxcfs", []string{host, proc, stat, other}, false},
	} {
		table, err := ParseTable([]byte(strings.Join(tt.lines, "\n")))
		if err != nil {
			t.Fatal(err)
		}
		table.others = table.Host("").Others
		for _, m := range table.all {
			if m.Minor == 43 {
				table.others[Device(m)] = true
			}
		}
		if got := table.lacksVisible(table.byID[11], "/c"); got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
}
