package mounts

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"palisade/internal/linux/sys"
)

func tableOf(t testing.TB, name string) *Table {
	t.Helper()
	text, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	table, err := ParseTable(text)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func paths(files []File) []string {
	var paths []string
	for _, f := range files {
		paths = append(paths, strings.TrimPrefix(f.Path, "/proc/"))
	}
	return paths
}

// TestFiles lists the visible files of lxcfs, without those covered by another mount and without
// whole ones.
func TestFiles(t *testing.T) {
	all := strings.Fields("cpuinfo diskstats loadavg meminfo partitions pressure/cpu pressure/io " +
		"pressure/memory slabinfo stat swaps uptime " +
		"/sys/devices/system/cpu/offline /sys/devices/system/cpu/online")
	without := slices.DeleteFunc(slices.Clone(all), func(s string) bool { return s == "stat" })
	for _, tt := range []struct {
		name string
		want []string
	}{{"host", nil}, {"container", all}, {"stacked", without}} {
		if got := paths(tableOf(t, tt.name).Files()); !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

// TestStacks counts the mounts on a file, and those of lxcfs at the top.
func TestStacks(t *testing.T) {
	table := tableOf(t, "stacked")
	proc := table.Top("/proc")
	for _, tt := range []struct {
		file         string
		mounts, ours int
	}{{"uptime", 1, 1}, {"meminfo", 2, 2}, {"stat", 2, 0}, {"version", 0, 0}} {
		stack := table.stack(proc.ID, "/proc/"+tt.file)
		if len(stack) != tt.mounts || table.onTop(stack) != tt.ours {
			t.Errorf("%s: %d mounts, %d of lxcfs, want %d and %d",
				tt.file, len(stack), table.onTop(stack), tt.mounts, tt.ours)
		}
	}
	if top := table.Top("/proc/stat"); top == nil || top.FSType != "ext4" {
		t.Errorf("mounted on stat: %+v", top)
	}
}

// TestPoints finds mount points of whole file systems.
func TestPoints(t *testing.T) {
	table := tableOf(t, "host")
	const point = "/var/lib/lxc/lxcfs"
	if got := table.Mountpoints(); !slices.Equal(got, []string{point}) {
		t.Errorf("mount points %q", got)
	}
	want := []string{"/dev/pts", "/dev/pts", "/dev/shm", "/dev/shm"}
	if got := table.Below("/dev"); !slices.Equal(got, want) {
		t.Errorf("below /dev: %q", got)
	}
	if got := table.Below("/var/lib/lxc"); !slices.Equal(got, []string{point}) {
		t.Errorf("below /var/lib/lxc: %q", got)
	}
	if top := table.Top("/proc"); top == nil || top.ID != 63 {
		t.Errorf("/proc: got %+v, want the upper one of two procfs, 63", top)
	}
	if top := table.Top("/home"); top != nil {
		t.Errorf("mounted on /home: %+v", top)
	}
	device := Device(table.Top(point))
	if device != (sys.DeviceNumber{Major: 0, Minor: 42}) {
		t.Errorf("device %v", device)
	}
	if others := table.Host(point).Others; len(others) != 0 {
		t.Errorf("others besides %s: %v, want none", point, others)
	}
	if others := table.Host("/somewhere").Others; !others[device] {
		t.Errorf("others besides /somewhere lack %v", device)
	}
}

// TestLongLine finds the files in a table with a line that is longer than the parser accepts.
func TestLongLine(t *testing.T) {
	text, err := os.ReadFile("testdata/container")
	if err != nil {
		t.Fatal(err)
	}
	want := paths(tableOf(t, "container").Files())
	for _, length := range []int{bufio.MaxScanTokenSize - 1, bufio.MaxScanTokenSize, 1 << 20} {
		long := fmt.Appendf(nil, "9999 9998 0:99 / /mnt rw - overlay overlay lowerdir=/")
		long = append(append(long, bytes.Repeat([]byte("l"), length-len(long))...), '\n')
		table, err := ParseTable(append(long, text...))
		if err != nil {
			t.Errorf("a line of %d bytes: %v", length, err)
		} else if got := paths(table.Files()); !slices.Equal(got, want) {
			t.Errorf("a line of %d bytes: got %q", length, got)
		}
	}
}

// TestManyMounts has as many mounts as the kernel allows, each on a file of a procfs. The limit is
// a hundred times the usual time, and a fifth of the time of a quadratic search.
func TestManyMounts(t *testing.T) {
	const mounts = 100_000
	text := []byte("100 1 0:5 / /proc rw - proc proc rw\n")
	for i := range mounts {
		text = fmt.Appendf(text, "%d 100 0:99 /x /proc/1/task/1/fdinfo/%d rw - tmpfs tmpfs rw\n", 1000+i, i)
	}
	text = append(text, "999999 100 0:42 /proc/stat /proc/stat rw - fuse.lxcfs lxcfs rw\n"...)
	table, err := ParseTable(text)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if got := paths(table.Files()); !slices.Equal(got, []string{"stat"}) {
		t.Errorf("got %q", got)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("the search took %v", took)
	}
}

// TestTooLarge reads tables of the largest size, and one line more.
func TestTooLarge(t *testing.T) {
	dir := t.TempDir()
	process, err := sys.OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer process.Close()
	line := "100 1 0:5 / /proc rw - proc proc rw,"
	line += strings.Repeat("x", 1023-len(line)) + "\n"
	for _, tt := range []struct {
		lines int
		want  error
	}{{maxTable / 1024, nil}, {maxTable/1024 + 1, ErrTooLarge}} {
		text := []byte(strings.Repeat(line, tt.lines))
		if err := os.WriteFile(dir+"/mountinfo", text, 0o600); err != nil {
			t.Fatal(err)
		}
		table, err := readTable(process, time.Minute)
		if !errors.Is(err, tt.want) || err == nil && len(table.all) != tt.lines {
			t.Errorf("%d lines of %d bytes: %v", tt.lines, len(line), err)
		}
	}
}

// TestPeerGroup reads the optional fields (proc_pid_mountinfo(5)).
func TestPeerGroup(t *testing.T) {
	for optional, want := range map[string]int{
		"": 0, "shared:7": 7, "master:3": 0, "shared:12 master:3": 12, "master:3 shared:12": 12,
		"unbindable": 0, "shared:x": 0,
	} {
		if got := PeerGroup(&Mount{Optional: optional}); got != want {
			t.Errorf("%q: got %d, want %d", optional, got, want)
		}
	}
}

// FuzzTable parses any text and calls the methods of the table, also with mounts in a circle.
func FuzzTable(f *testing.F) {
	for _, name := range []string{"host", "container", "stacked"} {
		text, err := os.ReadFile("testdata/" + name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte("1 1 0:1 / /proc rw - proc proc rw\n1 1 0:2 / /proc rw - fuse.lxcfs lxcfs rw\n"))
	f.Add([]byte("1 2 0:1 / /proc rw - proc proc rw\n2 1 0:2 / /proc/x rw - fuse.lxcfs lxcfs rw\n3 2 0:2 / /proc/x rw - fuse.lxcfs l rw\n"))
	f.Add([]byte("1 1 0:3   rw - proc proc rw\n1 1 0:2 / /proc rw - fuse.lxcfs lxcfs "))
	f.Fuzz(func(t *testing.T, text []byte) {
		table, err := ParseTable(text)
		if err != nil {
			return
		}
		if files := table.Files(); len(files) > len(table.all) {
			t.Errorf("%d files of %d mounts", len(files), len(table.all))
		}
		for _, m := range table.all {
			table.Top(m.Mountpoint)
			table.stack(m.ID, m.Mountpoint+"/x")
			table.Below(m.Mountpoint)
			table.below(m, m.Mountpoint)
			table.isHidden(m, m.Mountpoint+"/x")
			table.lacksVisible(m, "/")
			table.DeadVolumes(table.Locate(m.Mountpoint), nil, true)
		}
		table.Host("/")
		table.Mountpoints()
	})
}

// TestHolding finds the mount that contains a directory, and the visible mounts of an lxcfs.
func TestHolding(t *testing.T) {
	table, err := ParseTable([]byte(`20 1 8:1 / / rw shared:1 - ext4 /dev/sda rw
30 20 0:40 / /var/lib rw - tmpfs tmpfs rw
31 30 0:50 / /var/lib/lxc/lxcfs rw shared:9 - fuse.lxcfs lxcfs rw
32 20 0:50 / /hidden/lxcfs rw shared:9 - fuse.lxcfs lxcfs rw
33 32 0:60 / /hidden/lxcfs rw - tmpfs tmpfs rw
34 30 0:50 / /var/lib/lxcfs rw shared:9 - fuse.lxcfs lxcfs rw
35 30 0:51 / /var/lib/other rw - fuse.lxcfs lxcfs rw
36 20 0:52 / /srv/data/lxcfs rw - fuse.lxcfs lxcfs rw
37 20 0:61 / /srv rw - tmpfs tmpfs rw
38 37 0:62 / /srv rw - tmpfs tmpfs rw
`))
	if err != nil {
		t.Fatal(err)
	}
	if m := table.Top("/srv/data/lxcfs"); m != nil {
		t.Errorf("the hidden mount %+v is on its mount point", m)
	}
	for dir, want := range map[string]int{
		"/": 20, "/var": 20, "/var/lib": 30, "/var/lib/lxc": 30, "/var/lib/lxc/lxcfs": 31,
		"/hidden/lxcfs/x": 33, "/srv": 38, "/srv/data/lxcfs": 38,
	} {
		if m := table.Holding(dir); m == nil || m.ID != want {
			t.Errorf("%s is on %+v, want mount %d", dir, m, want)
		}
	}
	var points []string
	for _, m := range table.Lxcfs(sys.DeviceNumber{Minor: 50}) {
		points = append(points, m.Mountpoint)
	}
	if want := []string{"/var/lib/lxcfs", "/var/lib/lxc/lxcfs"}; !slices.Equal(points, want) {
		t.Errorf("lxcfs is on %q, want %q", points, want)
	}
}
