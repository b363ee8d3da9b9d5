package mounts

import (
	"errors"
	"os"
	"slices"
	"strconv"
	"syscall"
	"testing"

	"palisade/internal/inject/lxcfstest"
	"palisade/internal/linux/sys"
	"palisade/internal/linux/testns"
)

func TestMain(m *testing.M) { testns.Main(m) }

var servedPaths = []string{"proc/meminfo", "proc/uptime", CPUDir}

// source serves a file system, and returns its Source and mount point.
func source(t *testing.T, dir string) *Source {
	t.Helper()
	testns.Need(t)
	lxcfstest.Serve(t, dir)
	table, err := OwnTable()
	if err != nil {
		t.Fatal(err)
	}
	src, err := OpenSource(t.Context(), dir, Device(table.Top(dir)), servedPaths)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(src.Close)
	return src
}

// container returns the mount namespace of a process that has run the script.
func container(t *testing.T, script string) *MountNS {
	t.Helper()
	process, err := sys.OpenDir("/proc/" + strconv.Itoa(lxcfstest.Start(t, script)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { process.Close() })
	ns, err := OpenMountNS(process, "/")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(ns.Close)
	return ns
}

func put(t *testing.T, ns *MountNS, src *Source) Change {
	t.Helper()
	c, err := ns.Put(src)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestPutTake mounts the files in a container, again, those of another lxcfs in their place, and
// unmounts them.
func TestPutTake(t *testing.T) {
	first := source(t, t.TempDir())
	ns := container(t, "true")
	if c := put(t, ns, first); !slices.Equal(c.Put, servedPaths) || c.Removed != 0 {
		t.Errorf("first: %+v", c)
	}
	if c := put(t, ns, first); len(c.Put) != 0 || !slices.Equal(c.Virtual, servedPaths) {
		t.Errorf("again: %+v", c)
	}
	text, err := ns.process.ReadFileAt("root/proc/meminfo", nil)
	if err != nil || string(text) != "MemTotal: 1 kB\n" || !ns.HasLxcfs() {
		t.Errorf("got %q, %v", text, err)
	}
	second := source(t, t.TempDir())
	if c := put(t, ns, second); !slices.Equal(c.Put, servedPaths) || c.Removed != len(servedPaths) {
		t.Errorf("another lxcfs: %+v", c)
	}
	table, err := ns.Table()
	if err != nil {
		t.Fatal(err)
	}
	if files := table.Files(); len(files) != len(servedPaths) || files[0].Device != second.Device() {
		t.Errorf("files %+v", files)
	}
	c, err := ns.Take()
	if err != nil || c.Removed < len(servedPaths) || ns.HasLxcfs() {
		t.Errorf("unmounted %+v, %v", c, err)
	}
}

// TestPutLeavesForeign leaves a file alone on which the container has mounted something.
func TestPutLeavesForeign(t *testing.T) {
	src := source(t, t.TempDir())
	ns := container(t, "mount --bind /proc/version /proc/uptime")
	c := put(t, ns, src)
	if !slices.Equal(c.Foreign, []string{"proc/uptime"}) || len(c.Put) != len(servedPaths)-1 {
		t.Errorf("got %+v", c)
	}
	if err := ns.TakeBack(c); err != nil {
		t.Error(err)
	}
	if ns.HasLxcfs() {
		t.Error("files are left")
	}
}

// TestPutOnOldSystems mounts as on kernels before Linux 5.2, where the mount point must be visible
// in the container, and before 5.12, where only an attached mount can be restricted.
func TestPutOnOldSystems(t *testing.T) {
	for name, change := range map[string]func(*Source){
		"before Linux 5.2":  func(s *Source) { s.classic, s.restrictLater = true, true },
		"before Linux 5.12": func(s *Source) { s.restrictLater = true },
	} {
		t.Run(name, func(t *testing.T) {
			src := source(t, t.TempDir())
			change(src)
			src.Shared = ErrClassic
			ns := container(t, "true")
			if c := put(t, ns, src); !slices.Equal(c.Put, servedPaths) {
				t.Errorf("got %+v", c)
			}
			if c, err := ns.Take(); err != nil || c.Removed < len(servedPaths) {
				t.Errorf("unmounted %+v, %v", c, err)
			}
		})
	}
}

// TestSingleCPUFiles replaces files of the CPU directory, which earlier versions mounted one by
// one, by the whole directory.
func TestSingleCPUFiles(t *testing.T) {
	dir := t.TempDir()
	src := source(t, dir)
	ns := container(t, "mount --bind "+dir+"/"+CPUDir+"/online /"+CPUDir+"/online")
	c := put(t, ns, src)
	if !slices.Equal(c.Put, servedPaths) || c.Removed != 1 {
		t.Errorf("got %+v", c)
	}
}

// TestUncovered mounts a second procfs and sysfs in a container with a tmpfs on /dev.
func TestUncovered(t *testing.T) {
	src := source(t, t.TempDir())
	ns := container(t, "mount -t tmpfs tmpfs /dev")
	ns.IsFinal = true
	c := put(t, ns, src)
	if c.Uncovered == 0 {
		t.Skip("this machine has other mounts on its /proc and /sys")
	}
	if again := put(t, ns, src); again.Uncovered != 0 {
		t.Errorf("again: %+v", again)
	}
	if taken, err := ns.Take(); err != nil || taken.Uncovered != c.Uncovered {
		t.Errorf("took %+v, %v; mounted %+v", taken, err, c)
	}
	if _, err := ns.process.StatAt("root/dev/" + uncoveredDir); !errors.Is(err, syscall.ENOENT) {
		t.Errorf("the directory is left: %v", err)
	}
}

// TestVolume replaces a whole lxcfs in a container, which ended, by the one on the same mount
// point.
func TestVolume(t *testing.T) {
	dir := t.TempDir()
	source(t, dir)
	ns := container(t, "true") // it inherits the mount
	if err := sys.Unmount(dir, sys.UnmountForce|sys.UnmountDetach); err != nil {
		t.Fatal(err)
	}
	second := source(t, dir)
	c := put(t, ns, second)
	if !slices.Contains(c.Put, dir) {
		t.Errorf("got %+v", c)
	}
	table, err := ns.Table()
	if err != nil {
		t.Fatal(err)
	}
	if top := table.Top(dir); top == nil || Device(top) != second.Device() {
		t.Errorf("the volume shows %+v", top)
	}
}

// TestNest mounts a whole lxcfs in a container of liblxc, and unmounts it.
func TestNest(t *testing.T) {
	src := source(t, t.TempDir())
	if err := os.MkdirAll(nest, 0o755); err != nil {
		t.Fatal(err)
	}
	ns := container(t, "true")
	ns.IsLXC, ns.IsFinal = true, true
	if c := put(t, ns, src); !slices.Contains(c.Put, nest) {
		t.Errorf("got %+v", c)
	}
	ns.Host.Device = src.Device()
	if _, err := ns.Take(); err != nil {
		t.Error(err)
	}
	table, err := ns.Table()
	if err != nil || table.Top(nest) != nil {
		t.Errorf("the mount is left, %v", err)
	}
}

// TestNested covers mounts that a nested namespace cannot unmount.
func TestNested(t *testing.T) {
	src := source(t, t.TempDir())
	ns := container(t, "true")
	ns.Nested = true
	put(t, ns, src)
	if c := put(t, ns, source(t, t.TempDir())); len(c.Virtual) != len(servedPaths) {
		t.Errorf("got %+v", c)
	}
	if _, err := ns.Take(); err != nil {
		t.Error(err)
	}
}

// TestBindOn mounts a whole lxcfs on a second directory of the host, and unmounts both.
func TestBindOn(t *testing.T) {
	for _, classic := range []bool{false, true} {
		dir, target := t.TempDir(), t.TempDir()
		src := source(t, dir)
		src.classic = classic
		on, err := sys.OpenDir(target)
		if err != nil {
			t.Fatal(err)
		}
		defer on.Close()
		if err := src.BindOn(on); err != nil {
			t.Fatal(err)
		}
		if err := UnmountHost(src.Device(), sys.UnmountDetach); err != nil {
			t.Error(err)
		}
		table, err := OwnTable()
		if err != nil || table.Top(target) != nil || table.Top(dir) != nil {
			t.Errorf("mounts are left, %v", err)
		}
	}
}

// TestOpenMountNS fails for the test's own namespace, and Put for one without a procfs.
func TestOpenMountNS(t *testing.T) {
	process, err := sys.OpenDir("/proc/thread-self")
	if err != nil {
		t.Fatal(err)
	}
	defer process.Close()
	if _, err := OpenMountNS(process, "/"); !errors.Is(err, ErrHostNamespace) {
		t.Errorf("got %v", err)
	}
	src := source(t, t.TempDir())
	ns := container(t, "true")
	ns.Root = os.TempDir()
	if _, err := ns.Put(src); !errors.Is(err, ErrNoProc) {
		t.Errorf("without /proc: %v", err)
	}
}
