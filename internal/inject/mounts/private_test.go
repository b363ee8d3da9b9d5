package mounts

import (
	"path"
	"testing"

	"palisade/internal/linux/sys"
)

// TestIsShownBy distinguishes files of private trees, of the shared tree and of other mounts.
func TestIsShownBy(t *testing.T) {
	device := sys.DeviceNumber{Major: 0, Minor: 45}
	of := func(root string) *Mount { return &Mount{FSType: FSType, Major: 0, Minor: 45, Root: root} }
	for _, tt := range []struct {
		name            string
		mount           *Mount
		private, shared bool // want, for a source of private and of shared files
	}{
		{"of a private tree", of("/" + path.Join(newPrivateTree(), "proc/stat")), true, true},
		{"of the shared tree", of("/proc/stat"), false, true},
		{"another file of a private tree", of("/private/1/proc/uptime"), false, false},
		{"the private tree", of("/private/1"), false, false},
		{"the directory of private trees", of("/private"), false, false},
		{"the root", of("/"), false, false},
		{"of another lxcfs", &Mount{FSType: FSType, Minor: 46, Root: "/proc/stat"}, false, false},
		{"of another type", &Mount{FSType: "ext4", Minor: 45, Root: "/proc/stat"}, false, false},
		{"nothing", nil, false, false},
	} {
		private, shared := &Source{device: device}, &Source{device: device, Shared: ErrNoPrivateTrees}
		if got := private.isShownBy(tt.mount, "proc/stat"); got != tt.private {
			t.Errorf("%s, private: %v", tt.name, got)
		}
		if got := shared.isShownBy(tt.mount, "proc/stat"); got != tt.shared {
			t.Errorf("%s, shared: %v", tt.name, got)
		}
	}
}
