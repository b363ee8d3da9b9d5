package disk

import (
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"palisade/internal/linux/procfs"
	"palisade/internal/linux/sys"
	"palisade/internal/lxcfs/view"
)

func TestDeviceNodes(t *testing.T) {
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
	if got := deviceNodes(dev); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// TestFullDev scans a /dev that a container has filled: the names read in all directories together
// are bounded.
func TestFullDev(t *testing.T) {
	dir := t.TempDir()
	const dirs, files = 3, maxDeviceNames/2 + 1
	for dir2 := range dirs {
		sub := filepath.Join(dir, strconv.Itoa(dir2))
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
	s := nodeScan{names: maxDeviceNames}
	below := s.scan(dev, "")
	if want := maxDeviceNames - dirs; len(below) != dirs || s.names != want {
		t.Fatalf("%q are below, %d names are left of %d", below, s.names, want)
	}
	for i, want := range []int{maxDeviceNames - dirs - files, 0, 0} {
		sub, err := dev.OpenDirInRoot(below[i])
		if err != nil {
			t.Fatal(err)
		}
		s.scan(sub, below[i]+"/")
		sub.Close()
		if s.names != want {
			t.Errorf("after %d dirs %d names are left, want %d", i+1, s.names, want)
		}
	}
}

func TestRootFileSystem(t *testing.T) {
	tests := []struct {
		name, table string
		want        sys.DeviceNumber
		ok          bool
	}{
		{"a device",
			"22 1 254:1 / / rw - ext4 /dev/vda rw\n23 22 0:5 / /proc rw - proc proc rw\n",
			sys.DeviceNumber{Major: 254, Minor: 1}, true},
		{"the last of several",
			"1 1 0:2 / / rw - rootfs rootfs rw\n22 1 0:33 / / rw - btrfs /etc/shadow rw\n",
			sys.DeviceNumber{Minor: 33}, true},
		{"no root", "23 22 0:5 / /proc rw - proc proc rw\n", sys.DeviceNumber{}, false},
		{"empty", "", sys.DeviceNumber{}, false},
		{"rubbish", "a b c\n", sys.DeviceNumber{}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, ok := rootFileSystem([]byte(tt.table))
			if got != tt.want || ok != tt.ok {
				t.Errorf("got %v, %v; want %v", got, ok, tt.want)
			}
		})
	}
}

// TestSplitTable splits a large mount table: it must not allocate memory for each line.
func TestSplitTable(t *testing.T) {
	const line = "30 22 0:40 / /var/lib/merged rw - overlay overlay rw,lowerdir=/l,upperdir=/u,workdir=/w\n"
	text := []byte(strings.Repeat(line, 10_000) + "a b c\n31 22 0:x / /a rw - tmpfs tmpfs rw\n32 22 0:41 /")
	lines := splitTable(text)
	if len(lines) != 10_000 || lines[0].fs.Minor != 40 || string(lines[0].point) != "/var/lib/merged" {
		t.Errorf("%d lines, the first is %+v", len(lines), lines[0])
	}
	if allocs := testing.AllocsPerRun(10, func() { splitTable(text) }); allocs > 2 {
		t.Errorf("%v allocations", allocs)
	}
}

func FuzzRootFileSystem(f *testing.F) {
	f.Add([]byte("600 500 0:50 / / rw - overlay overlay rw,lowerdir=/l/B:/l/A,upperdir=/l/up,workdir=/l/w\n"))
	f.Add([]byte("22 1 254:0 / / rw shared:1 master:2 - ext4 /dev/vda rw\n"))
	f.Fuzz(func(_ *testing.T, table []byte) { rootFileSystem(table) })
}

// TestDiskOf finds the disks of the host's file systems by device number, in the host's mount
// table.
func TestDiskOf(t *testing.T) {
	const table = `22 1 254:1 / / rw,relatime - ext4 /dev/vda1 rw
30 22 254:17 / /var/lib/data\040x rw - xfs /dev/vdb1 rw
31 22 0:40 / /merged rw - overlay overlay rw,lowerdir=/l,upperdir=/var/lib/data\040x/up,workdir=/w
32 22 0:41 / /read-only ro - overlay overlay ro,lowerdir=/l/B:/l/A
33 22 0:42 / /nested rw - overlay overlay rw,lowerdir=/l,upperdir=/merged/up,workdir=/merged/w
34 22 0:43 / /relative ro - overlay overlay ro,lowerdir=l/B:l/A
35 22 0:44 / /user rw - fuse.x /dev/vda1 rw,user_id=1000
36 22 0:45 / /itself rw - overlay overlay rw,lowerdir=/l,upperdir=/itself/up,workdir=/w
37 22 0:46 / /btrfs rw - btrfs /etc/shadow rw
`
	root := t.TempDir()
	if err := os.Mkdir(filepath.Join(root, "self"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "self/mountinfo"), []byte(table), 0o600); err != nil {
		t.Fatal(err)
	}
	proc, err := sys.OpenDir(root)
	if err != nil {
		t.Fatal(err)
	}
	defer proc.Close()
	h := hostMounts{proc: proc, disks: func(major, minor uint32) []procfs.Device {
		if major == 254 {
			return []procfs.Device{{Major: major, Minor: minor &^ 15}}
		}
		return nil
	}}
	vda, vdb := procfs.Device{Major: 254}, procfs.Device{Major: 254, Minor: 16}
	for minor, want := range map[uint32]procfs.Device{
		40: vdb, 41: vda, 42: vdb, 43: {}, 44: {}, 45: {}, 46: {}, 99: {},
	} {
		got, ok := h.diskOf(sys.DeviceNumber{Minor: minor}, maxLayers)
		if got != want || ok != (want != procfs.Device{}) {
			t.Errorf("file system 0:%d lies on %v, %v; want %v", minor, got, ok, want)
		}
	}
	if got, ok := h.diskOf(sys.DeviceNumber{Major: 254, Minor: 17}, maxLayers); !ok || got != vdb {
		t.Errorf("a disk's own lies on %v, %v", got, ok)
	}
}
