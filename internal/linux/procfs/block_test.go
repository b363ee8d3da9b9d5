package procfs

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// newBlockHost returns a host with a disk sda with two partitions, a disk sdb, a loop device, an md
// device of sda2 and sdb, a device mapper device on that, and two devices that are slaves of each
// other.
func newBlockHost(t *testing.T) *FS {
	t.Helper()
	h := newFakeHost(t)
	for dev, dir := range map[string]string{
		"8:0": "pci/block/sda", "8:1": "pci/block/sda/sda1", "8:2": "pci/block/sda/sda2",
		"8:16": "pci/block/sdb",
		"7:0":  "virtual/block/loop0", "9:127": "virtual/block/md127", "253:0": "virtual/block/dm-0",
		"253:1": "virtual/block/dm-1", "253:2": "virtual/block/dm-2",
	} {
		h.write("sys/devices/"+dir+"/dev", dev+"\n")
		link(t, "../../devices/"+dir, filepath.Join(h.dir, "sys/dev/block", dev))
	}
	h.write("sys/devices/pci/block/sda/sda1/partition", "1\n")
	h.write("sys/devices/pci/block/sda/sda2/partition", "2\n")
	for _, s := range [][2]string{
		{"md127", "sda2"}, {"md127", "sdb"}, {"dm-0", "md127"}, {"dm-1", "dm-2"}, {"dm-2", "dm-1"},
	} {
		target := map[string]string{
			"sda2": "pci/block/sda/sda2", "sdb": "pci/block/sdb", "md127": "virtual/block/md127",
			"dm-1": "virtual/block/dm-1", "dm-2": "virtual/block/dm-2",
		}[s[1]]
		dir := filepath.Join(h.dir, "sys/devices/virtual/block", s[0], "slaves")
		link(t, "../../../../"+target, filepath.Join(dir, s[1]))
	}
	return h.FS
}

func link(t *testing.T, target, path string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, path); err != nil {
		t.Fatal(err)
	}
}

func TestWholeDisk(t *testing.T) {
	fs := newBlockHost(t)
	for _, tt := range []struct {
		name     string
		dev, out Device
		ok       bool
	}{
		{"disk", Device{8, 0}, Device{8, 0}, true},
		{"partition", Device{8, 2}, Device{8, 0}, true},
		{"loop", Device{7, 0}, Device{7, 0}, true},
		{"device mapper", Device{253, 0}, Device{253, 0}, true},
		{"md", Device{9, 127}, Device{9, 127}, true},
		{"not a block device", Device{0, 42}, Device{}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got, ok := fs.wholeDisk(tt.dev); got != tt.out || ok != tt.ok {
				t.Errorf("got %v, %v, want %v, %v", got, ok, tt.out, tt.ok)
			}
		})
	}
}

func TestSlaves(t *testing.T) {
	fs := newBlockHost(t)
	for _, tt := range []struct {
		name string
		dev  Device
		want []Device
	}{
		{"disk", Device{8, 16}, []Device{{8, 16}}},
		{"partition", Device{8, 1}, []Device{{8, 0}}},
		{"md of a partition and a disk", Device{9, 127}, []Device{{8, 0}, {8, 16}}},
		{"device mapper on md", Device{253, 0}, []Device{{8, 0}, {8, 16}}},
		{"loop", Device{7, 0}, []Device{{7, 0}}},
		{"cycle", Device{253, 1}, nil},
		{"not a block device", Device{0, 42}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := fs.Slaves(tt.dev.Major, tt.dev.Minor); !slices.Equal(got, tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}
