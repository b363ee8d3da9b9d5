package lxcfs

import (
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"palisade/internal/procfs"
	"palisade/internal/sys"
	"palisade/internal/view"
)

func TestNodesBelow(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("making device nodes needs root")
	}
	dir := t.TempDir()
	for _, sub := range []string{"mapper", "mapper/deeper", "outside"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	outside := t.TempDir()
	nodes := []struct {
		path         string
		mode         uint32
		major, minor uint32
	}{
		{dir + "/xvda", unix.S_IFBLK, 254, 0},
		{dir + "/another-xvda", unix.S_IFBLK, 254, 0},
		{dir + "/null", unix.S_IFCHR, 1, 3},
		{dir + "/mapper/data", unix.S_IFBLK, 252, 1},
		{dir + "/mapper/xvda", unix.S_IFBLK, 254, 0},
		{dir + "/mapper/deeper/x", unix.S_IFBLK, 252, 2},
		{dir + "/two words", unix.S_IFBLK, 252, 3},
		{dir + "/line\nbreak", unix.S_IFBLK, 252, 4},
		{outside + "/host", unix.S_IFBLK, 8, 0},
	}
	for _, n := range nodes {
		if err := unix.Mknod(n.path, n.mode|0o600, int(unix.Mkdev(n.major, n.minor))); err != nil {
			t.Fatal(err)
		}
	}
	for link, target := range map[string]string{"loop": ".", "trap": outside, "sda": "xvda"} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	dev, err := sys.OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	want := []view.Disk{
		{Device: procfs.Device{Major: 254}, Name: "another-xvda"},
		{Device: procfs.Device{Major: 252, Minor: 1}, Name: "mapper/data"},
	}
	if got := nodesBelow(dev); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// TestFullDev has a container fill its /dev: no more is read than is looked at, in all directories together.
func TestFullDev(t *testing.T) {
	dir := t.TempDir()
	const folders, files = 3, maxDeviceNames/2 + 1
	for folder := range folders {
		sub := filepath.Join(dir, strconv.Itoa(folder))
		if err := os.Mkdir(sub, 0o755); err != nil {
			t.Fatal(err)
		}
		for file := range files {
			if err := os.Symlink("x", filepath.Join(sub, strconv.Itoa(file))); err != nil {
				t.Fatal(err)
			}
		}
	}
	dev, err := sys.OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	s := nodeSearch{names: maxDeviceNames}
	below := s.look(dev, "")
	if want := maxDeviceNames - folders; len(below) != folders || s.names != want {
		t.Fatalf("%q are below, %d names are left of %d", below, s.names, want)
	}
	for i, want := range []int{maxDeviceNames - folders - files, 0, 0} {
		sub, err := dev.OpenDirInRoot(below[i])
		if err != nil {
			t.Fatal(err)
		}
		s.look(sub, below[i]+"/")
		sub.Close()
		if s.names != want {
			t.Errorf("after %d folders %d names are left, want %d", i+1, s.names, want)
		}
	}
}

func TestRootHolder(t *testing.T) {
	tests := []struct {
		name, table, want string
		ok                bool
	}{
		{"a device", "22 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n23 22 0:5 / /proc rw - proc proc rw\n", "/dev/vda", true},
		{"the last of several", "1 1 0:2 / / rw - rootfs rootfs rw\n22 1 254:0 / / rw - ext4 /dev/vda1 rw\n", "/dev/vda1", true},
		{"an overlay", "600 500 0:50 / / rw,relatime - overlay overlay rw,lowerdir=/l/B:/l/A,upperdir=/l/up,workdir=/l/w\n", "/l/up", true},
		{"a read-only overlay", "600 500 0:50 / / ro - overlay overlay ro,lowerdir=/l/B:/l/A\n", "/l/A", true},
		{"a path with a blank", "600 500 0:50 / / rw - overlay overlay rw,lowerdir=/l,upperdir=/a\\040b,workdir=/w\n", "/a b", true},
		{"no root", "23 22 0:5 / /proc rw - proc proc rw\n", "", false},
		{"empty", "", "", false},
		{"rubbish", "a b c\n", "", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := rootHolder([]byte(tt.table))
			if got != tt.want || (err == nil) != tt.ok {
				t.Errorf("got %q, %v; want %q", got, err, tt.want)
			}
		})
	}
}

func FuzzRootHolder(f *testing.F) {
	f.Add([]byte("600 500 0:50 / / rw - overlay overlay rw,lowerdir=/l/B:/l/A,upperdir=/l/up,workdir=/l/w\n"))
	f.Add([]byte("22 1 254:0 / / rw shared:1 master:2 - ext4 /dev/vda rw\n"))
	f.Fuzz(func(_ *testing.T, table []byte) { rootHolder(table) })
}

func TestCPUOfOnline(t *testing.T) {
	tests := []struct {
		path string
		cpu  int
		ok   bool
	}{
		{"cpu3/online", 3, true}, {"cpu128/online", 128, true}, {"online", 0, false}, {"cpuidle/online", 0, false},
		{"cpu3/cache/online", 0, false}, {"cpu3/topology/core_id", 0, false},
	}
	for _, tt := range tests {
		if cpu, ok := cpuOfOnline(tt.path); ok != tt.ok || ok && cpu != tt.cpu {
			t.Errorf("cpuOfOnline(%q) = %d, %v", tt.path, cpu, ok)
		}
	}
}
