package mounts

import (
	"slices"
	"strings"
	"testing"

	"palisade/internal/linux/sys"
)

// TestDeadVolumes finds dead mounts on the host's /var/lib/lxc/lxcfs, where /var is a file system
// of its own, in volumes of a container.
func TestDeadVolumes(t *testing.T) {
	parse := func(lines ...string) *Table {
		table, err := ParseTable([]byte(strings.Join(lines, "\n")))
		if err != nil {
			t.Fatal(err)
		}
		return table
	}
	const (
		root  = "10 9 0:20 / / rw - overlay overlay rw"
		lib   = "11 10 254:2 /lib/lxc /var/lib/lxc rw - ext4 /dev/vda2 rw"
		data  = "11 10 254:2 /lib /data/x rw - ext4 /dev/vda2 rw"
		own   = "20 10 0:50 / /proc rw - proc proc rw"
		stale = "21 20 0:41 /proc/stat /proc/stat rw - fuse.lxcfs lxcfs rw"
		bound = "12 10 0:41 / /var/lib/lxcfs rw - fuse.lxcfs lxcfs rw"
		other = "11 10 254:1 /lib/lxc /var/lib/lxc rw - ext4 /dev/vda1 rw"
	)
	host := parse("1 0 254:1 / / rw - ext4 /dev/vda1 rw", "2 1 254:2 / /var rw shared:2 - ext4 /dev/vda2 rw",
		"3 2 254:2 /lib/lxc /var/lib/lxc rw shared:3 - ext4 /dev/vda2 rw", "4 3 0:42 / /var/lib/lxc/lxcfs rw - fuse.lxcfs lxcfs rw")
	alive := map[sys.DeviceNumber]bool{{Minor: 42}: true}
	for _, tt := range []struct {
		name string
		t    *Table
		want []string
	}{
		{"alive", parse(root, lib, "12 11 0:42 / /var/lib/lxc/lxcfs rw - fuse.lxcfs lxcfs rw"), nil},
		{"dead", parse(root, lib, "12 11 0:41 / /var/lib/lxc/lxcfs rw - fuse.lxcfs lxcfs rw"), []string{"/var/lib/lxc/lxcfs"}},
		{"elsewhere", parse(root, data, "12 11 0:41 / /data/x/lxc/lxcfs rw - fuse.lxcfs lxcfs rw"), []string{"/data/x/lxc/lxcfs"}},
		{"covered", parse(root, lib, "12 11 0:41 / /var/lib/lxc/lxcfs rw - fuse.lxcfs lxcfs rw",
			"13 12 0:42 / /var/lib/lxc/lxcfs rw - fuse.lxcfs lxcfs rw"), nil},
		{"two", parse(root, lib, "12 11 0:40 / /var/lib/lxc/lxcfs rw - fuse.lxcfs lxcfs rw",
			"13 12 0:41 / /var/lib/lxc/lxcfs rw - fuse.lxcfs lxcfs rw"), []string{"/var/lib/lxc/lxcfs"}},
		{"another directory", parse(root, lib, "12 11 0:41 / /var/lib/lxc/other rw - fuse.lxcfs lxcfs rw"), nil},
		{"another file system", parse(root, other, "12 11 0:41 / /var/lib/lxc/lxcfs rw - fuse.lxcfs lxcfs rw"), nil},
		{"the container's own", parse(root, "12 10 0:41 / /var/lib/lxc/lxcfs rw - fuse.lxcfs lxcfs rw"), nil},
		{"another type", parse(root, lib, "12 11 0:41 / /var/lib/lxc/lxcfs rw - fuse.sshfs lxcfs rw"), nil},
		{"a directory of its own", parse(root, own, bound, stale), []string{"/var/lib/lxcfs"}},
		{"a directory of its own, alive", parse(root, own,
			"12 10 0:42 / /var/lib/lxcfs rw - fuse.lxcfs lxcfs rw", stale), nil},
		{"of an lxcfs without files here", parse(root, own,
			"12 10 0:43 / /var/lib/lxcfs rw - fuse.lxcfs lxcfs rw", stale), nil},
		{"a part", parse(root, lib, "12 11 0:41 /proc /var/lib/lxc/lxcfs rw - fuse.lxcfs lxcfs rw"), nil},
		{"under itself", parse("12 12 0:41 / /var/lib/lxc/lxcfs rw - fuse.lxcfs lxcfs rw"), nil},
	} {
		mountpoint := host.Locate("/var/lib/lxc/lxcfs")
		if got := tt.t.DeadVolumes(mountpoint, alive, true); !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
		if slices.Equal(tt.want, []string{nest}) {
			tt.want = nil
		}
		if got := tt.t.DeadVolumes(mountpoint, alive, false); !slices.Equal(got, tt.want) {
			t.Errorf("%s, not LXC's: got %q, want %q", tt.name, got, tt.want)
		}
	}
}
