package toolkit

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"palisade/internal/inject/engine"
	"palisade/internal/inject/lxcfstest"
	"palisade/internal/inject/mounts"
	"palisade/internal/linux/sys"
	"palisade/internal/linux/testns"
)

func TestMain(m *testing.M) { testns.Main(m) }

// newToolkit returns a Toolkit for a mount point below a directory that is a mount, and its log.
func newToolkit(t *testing.T) (*Toolkit, *bytes.Buffer) {
	t.Helper()
	testns.Need(t)
	parent := t.TempDir()
	if err := sys.Mount("tmpfs", parent, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sys.Unmount(parent, sys.UnmountDetach) })
	log := new(bytes.Buffer)
	tk := &Toolkit{
		Mountpoint: filepath.Join(parent, "lxcfs"), RuntimeDir: t.TempDir(),
		Log: slog.New(slog.NewTextHandler(log, nil)),
	}
	if err := os.Mkdir(tk.Mountpoint, 0o755); err != nil {
		t.Fatal(err)
	}
	return tk, log
}

// start starts a container, and registers it.
func start(t *testing.T, tk *Toolkit, id string) {
	t.Helper()
	if err := tk.registry().Add(id, lxcfstest.Start(t, "true")); err != nil {
		t.Fatal(err)
	}
}

// one returns the only result of a command.
func one(t *testing.T, report Report, err error) Result {
	t.Helper()
	if err != nil || len(report.Results) != 1 {
		t.Fatalf("got %+v, %v", report, err)
	}
	return report.Results[0]
}

// TestRemount mounts the files in a running container, lists and unmounts them.
func TestRemount(t *testing.T) {
	tk, _ := newToolkit(t)
	lxcfstest.Serve(t, tk.Mountpoint)
	start(t, tk, "c1")
	s := Selection{Jobs: 2, Timeout: 10 * time.Second}
	report, err := tk.Remount(t.Context(), s)
	if r := one(t, report, err); r.ID != "c1" || r.Outcome != Done || r.Put != 3 || r.Virtual != 3 {
		t.Errorf("remount: %+v", r)
	}
	s.ID = "c"
	report, err = tk.Remount(t.Context(), s)
	if r := one(t, report, err); r.Outcome != Unchanged || report.Err() != nil {
		t.Errorf("again: %+v", r)
	}
	list, err := tk.List(t.Context())
	if err != nil || len(list.Containers) != 1 || len(list.Containers[0].Alive) != 3 {
		t.Errorf("list: %+v, %v", list, err)
	}
	running, _, err := tk.Running(t.Context())
	if err != nil || len(running) != 1 || running[0].ID != "c1" {
		t.Errorf("running: %+v, %v", running, err)
	}
	report, err = tk.Poststop(t.Context(), s)
	if r := one(t, report, err); r.Outcome != Done || r.Removed < 3 {
		t.Errorf("poststop: %+v", r)
	}
	table, err := mounts.OwnTable()
	if err != nil || table.Top(tk.Mountpoint) != nil {
		t.Errorf("lxcfs is still mounted, %v", err)
	}
	s.ID = "other"
	if _, err = tk.Umount(t.Context(), s); !errors.Is(err, engine.ErrUnknown) {
		t.Errorf("an unknown container: %v", err)
	}
}

// TestGivenContainers has containers that an agent names. The cgroup of the process has none of
// these names.
func TestGivenContainers(t *testing.T) {
	tk, _ := newToolkit(t)
	lxcfstest.Serve(t, tk.Mountpoint)
	pid := lxcfstest.Start(t, "mount -t tmpfs tmpfs /mnt; cd /mnt; mkdir proc usr; "+
		"mount --rbind /usr usr; ln -s usr/bin usr/lib usr/lib64 .; mount -t proc proc proc; "+
		"exec chroot . sh -c 'echo; exec sleep 1000'")
	c := engine.Container{ID: "palisade-reused", PID: pid}
	s := Selection{Containers: []engine.Container{c}, Timeout: 10 * time.Second}
	if report, err := tk.Remount(t.Context(), s); err != nil || len(report.Results) > 0 {
		t.Errorf("remount: %+v, %v", report, err)
	}
	_, err := tk.Start(t.Context(), c)
	if err == nil || !strings.Contains(err.Error(), "is in no cgroup of the container") {
		t.Errorf("start: %v", err)
	}
	c.PID = os.Getpid()
	if _, err := tk.Start(t.Context(), c); !errors.Is(err, mounts.ErrHostNamespace) {
		t.Errorf("start of a virtual machine: %v", err)
	}
}

// TestUnknownNamespace finds files in a namespace of no known container.
func TestUnknownNamespace(t *testing.T) {
	tk, _ := newToolkit(t)
	lxcfstest.Serve(t, tk.Mountpoint)
	lxcfstest.Start(t, "mount --bind "+tk.Mountpoint+"/proc/uptime /proc/uptime")
	report, err := tk.Umount(t.Context(), Selection{Timeout: 10 * time.Second})
	if r := one(t, report, err); r.Outcome != Done || r.Removed != 1 {
		t.Errorf("got %+v", r)
	}
}

// hook runs Hook for a container with the root file system dir.
func hook(t *testing.T, tk *Toolkit, pid int, dir string, strict bool) error {
	t.Helper()
	state := fmt.Sprintf(
		`{"ociVersion":"1.0.2","id":"c1","status":"created","pid":%d,"bundle":%q,"root":"rootfs"}`,
		pid, dir)
	return tk.Hook(t.Context(), strings.NewReader(state), strict)
}

// TestHook mounts the files in a container that has a procfs below its root file system.
func TestHook(t *testing.T) {
	tk, log := newToolkit(t)
	dir := t.TempDir()
	proc := filepath.Join(dir, "rootfs/proc")
	if err := os.MkdirAll(proc, 0o755); err != nil {
		t.Fatal(err)
	}
	pid := lxcfstest.Start(t, "mount -t proc proc "+proc)
	if err := hook(t, tk, pid, dir, false); err != nil || !strings.Contains(log.String(), "without lxcfs") {
		t.Errorf("without lxcfs: %v, %s", err, log)
	}
	if err := hook(t, tk, pid, dir, true); !errors.Is(err, ErrUnhealthy) {
		t.Errorf("strict, without lxcfs: %v", err)
	}
	lxcfstest.Serve(t, tk.Mountpoint)
	if err := hook(t, tk, pid, dir, true); err != nil {
		t.Error(err)
	}
	file := fmt.Sprintf("/proc/%d/root%s/uptime", pid, proc)
	if text, err := os.ReadFile(file); err != nil || string(text) != "1.00 1.00\n" {
		t.Errorf("the container reads %q, %v", text, err)
	}
	if err := hook(t, tk, os.Getpid(), dir, true); !errors.Is(err, errInside) {
		t.Errorf("in the namespaces of the container: %v", err)
	}
	if err := hook(t, tk, lxcfstest.Start(t, "true"), dir, true); err == nil ||
		!strings.Contains(err.Error(), "no procfs is mounted below") {
		t.Errorf("without procfs: %v", err)
	}
	if err := hook(t, tk, -1, dir, true); err == nil {
		t.Error("a container without a process")
	}
}

// TestBind mounts lxcfs on a second directory, and leaves another mount alone.
func TestBind(t *testing.T) {
	tk, _ := newToolkit(t)
	lxcfstest.Serve(t, tk.Mountpoint)
	dir, used := filepath.Join(t.TempDir(), "a/b"), t.TempDir()
	if err := sys.Mount("tmpfs", used, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	defer sys.Unmount(used, sys.UnmountDetach)
	for range 2 {
		if err := tk.Bind(t.Context(), []string{dir}, 10*time.Second); err != nil {
			t.Error(err)
		}
	}
	if text, err := os.ReadFile(dir + "/proc/uptime"); err != nil || len(text) == 0 {
		t.Errorf("got %q, %v", text, err)
	}
	err := tk.Bind(t.Context(), []string{used}, 10*time.Second)
	if err == nil || !strings.Contains(err.Error(), "is in use") {
		t.Errorf("a directory in use: %v", err)
	}
	if err := tk.Unbind(t.Context(), []string{dir}); err != nil {
		t.Error(err)
	}
	if err := tk.Unbind(t.Context(), []string{tk.Mountpoint}); err == nil {
		t.Error("unmounted the main mount point")
	}
	table, err := mounts.OwnTable()
	if err != nil || table.Top(dir) != nil || table.Top(tk.Mountpoint) == nil {
		t.Errorf("the mounts are wrong, %v", err)
	}
}

// TestPrestart makes the parent of the mount point a shared mount, and undoes that.
func TestPrestart(t *testing.T) {
	tk, _ := newToolkit(t)
	tk.Mountpoint = filepath.Join(t.TempDir(), "lxcfs")
	parent := filepath.Dir(tk.Mountpoint)
	for range 2 {
		if err := tk.Prestart(t.Context()); err != nil {
			t.Fatal(err)
		}
		table, err := mounts.OwnTable()
		if err != nil {
			t.Fatal(err)
		}
		if top := table.Top(parent); top == nil || mounts.PeerGroup(top) == 0 || len(table.Below(parent)) > 0 {
			t.Errorf("the parent is %+v", top)
		}
	}
	for range 2 {
		if err := tk.UndoPrestart(); err != nil {
			t.Error(err)
		}
	}
	if table, err := mounts.OwnTable(); err != nil || table.Top(parent) != nil {
		t.Errorf("the mount is left, %v", err)
	}
}

// TestUpgrade fails for a server without a worker.
func TestUpgrade(t *testing.T) {
	tk, _ := newToolkit(t)
	if _, err := tk.Upgrade(t.Context(), time.Second); !errors.Is(err, ErrUnhealthy) {
		t.Errorf("without lxcfs: %v", err)
	}
	lxcfstest.Serve(t, tk.Mountpoint)
	if _, err := tk.Upgrade(t.Context(), 10*time.Second); err == nil ||
		!strings.Contains(err.Error(), "no worker process") {
		t.Errorf("got %v", err)
	}
}

func TestCgroupVersion(t *testing.T) {
	for text, want := range map[string]string{
		"0::/user.slice\n": "v2", "": "v2", "4:memory:/a\n1:name=systemd:/a\n0::/\n": "v1",
		"4:memory:/a\n0::/a\n": "hybrid", "1:name=systemd:/a\n": "v2",
	} {
		if got := cgroupVersion([]byte(text)); got != want {
			t.Errorf("%q: got %s, want %s", text, got, want)
		}
	}
}
