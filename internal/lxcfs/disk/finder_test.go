package disk

import (
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"palisade/internal/linux/procfs"
	"palisade/internal/linux/sys"
	"palisade/internal/lxcfs/container"
)

// fakeContainer is a container whose /proc/<pid> is a directory.
type fakeContainer struct {
	dir       sys.File
	principal container.Principal
	refs      atomic.Int32
}

func (c *fakeContainer) InitDir() sys.File               { return c.dir }
func (c *fakeContainer) Principal() *container.Principal { return &c.principal }
func (c *fakeContainer) Acquire()                        { c.refs.Add(1) }
func (c *fakeContainer) Release()                        { c.refs.Add(-1) }

// newFakeContainer returns a container with an empty root directory, and a Finder for which a disk
// has that directory.
func newFakeContainer(t *testing.T) (*fakeContainer, *Finder, string) {
	t.Helper()
	dir := t.TempDir()
	root := filepath.Join(dir, "root")
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	var st syscall.Stat_t
	if err := syscall.Stat(root, &st); err != nil {
		t.Fatal(err)
	}
	file, err := sys.OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	host, err := procfs.New("/proc", "/sys")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { host.Close() })
	f := NewFinder(file, host, false, func(sys.Inode) bool { return false })
	f.mounts.disks = func(uint32, uint32) []procfs.Device {
		return []procfs.Device{{Major: 8, Minor: 16}}
	}
	return &fakeContainer{dir: file}, f, root
}

// TestDisks lists the disks of a container twice: the second list is not made again.
func TestDisks(t *testing.T) {
	for _, hostNames := range []bool{false, true} {
		c, f, root := newFakeContainer(t)
		f.hostNames = hostNames
		want := "sda"
		if hostNames {
			want = ""
		}
		var l List
		for range 2 {
			disks, err := f.Disks(c, &l)
			if err != nil || len(disks) != 1 || disks[0].Minor != 16 || disks[0].Name != want {
				t.Errorf("got %+v, %v, want a disk %q", disks, err, want)
			}
			if err := os.RemoveAll(root); err != nil {
				t.Fatal(err)
			}
		}
		l.until = time.Now()
		if disks, err := f.Disks(c, &l); err != nil || len(disks) != 0 {
			t.Errorf("without a root: %+v, %v", disks, err)
		}
		for end := time.Now().Add(10 * time.Second); f.scans.Used() != 0 || c.refs.Load() != 0; {
			if time.Now().After(end) {
				t.Fatalf("%d scans are counted, %d references are left", f.scans.Used(), c.refs.Load())
			}
			time.Sleep(time.Millisecond)
		}
	}
}

// TestAtHostRoot lists disks while a runtime is at the host's root: the root is checked each time.
func TestAtHostRoot(t *testing.T) {
	c, f, root := newFakeContainer(t)
	checks := 0
	f.isHostRoot = func(sys.Inode) bool {
		checks++
		return checks < 3
	}
	var l List
	for i := range 4 {
		if disks, err := f.Disks(c, &l); err != nil || len(disks) != 1 {
			t.Errorf("list %d of %s: %+v, %v", i, root, disks, err)
		}
	}
	if checks != 3 {
		t.Errorf("the root was checked %d times, want 3", checks)
	}
}

// TestPending has a scan that never ends: readers wait only for the first list, and not for long.
func TestPending(t *testing.T) {
	c, f, _ := newFakeContainer(t)
	var l List
	l.pending, l.started = make(chan struct{}), time.Now().Add(-patience)
	if _, err := f.Disks(c, &l); !errors.Is(err, ErrPending) {
		t.Errorf("without a list: %v", err)
	}
	l.made = time.Now().Add(-time.Hour)
	if disks, err := f.Disks(c, &l); err != nil || disks != nil {
		t.Errorf("with an old list: %v, %v", disks, err)
	}
	for f.scans.Take(&c.principal) {
	}
	var other List
	if _, err := f.Disks(c, &other); !errors.Is(err, ErrPending) {
		t.Errorf("with too many scans: %v", err)
	}
}
