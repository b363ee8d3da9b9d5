//go:build integration

package toolkit

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"palisade/internal/inject/mounts"
	"palisade/test/ctr"
	"palisade/test/engine"
)

// waitForLog waits for a line in the container's output.
func waitForLog(t *testing.T, c *ctr.Container, line string) {
	t.Helper()
	defer func() {
		if t.Failed() {
			t.Log(c.Log())
		}
	}()
	engine.WaitFor(t, "the container to print "+line, func() bool {
		return slices.Contains(strings.Split(c.Log(), "\n"), line)
	})
}

// TestInodesArePrivate checks that locks, leases and watches on all files of a container neither
// affect other containers, later ones and the host, nor show their accesses.
func TestInodesArePrivate(t *testing.T) {
	h := newHost(t)
	h.start(t)
	worker := h.worker(t)
	files := append(h.servedFiles(t), cpuDir+"/cpu0/topology/core_id")
	hostile, other := h.container(t, ctr.Options{}), h.container(t, ctr.Options{})
	load := func(c *ctr.Container, done string, args ...string) {
		t.Helper()
		if err := c.ExecStart(t.Context(), append(append([]string{"/bin/load"}, args...), files...)...); err != nil {
			t.Fatal(err)
		}
		waitForLog(t, c, done)
	}
	for _, c := range []*ctr.Container{hostile, other} {
		load(c, "held", "hold", "1")
		if n := strings.Count(c.Log(), ": flock <nil>, lock <nil>, lease <nil>\n"); n != len(files) {
			t.Fatalf("locked %d of %d files: %s", n, len(files), c.Log())
		}
	}
	load(hostile, "watched", "events")
	watcher := h.container(t, ctr.Options{})
	load(watcher, "watched", "events")
	victim := h.container(t, ctr.Options{Memory: 64 * mib, Hooks: h.hook("--strict")})
	checkVirtual(t, h, victim, 64*mib)
	// A lease is broken after 45 seconds.
	read := append([]string{"timeout", "20", "/bin/load", "print"}, files...)
	for range 3 {
		if out := inside(t, victim, read...); strings.Contains(out, "error: ") {
			t.Errorf("another container reads %q", out)
		}
	}
	inside(t, victim, "timeout", "20", "sh", "-c", "exec 3<>/proc/pressure/memory")
	h.must(t, "check-lxcfs")
	if r := h.report(t, "remount", "--all"); len(r.Containers) != 4 {
		t.Errorf("remount reports %+v", r)
	}
	if now := h.worker(t); now != worker {
		t.Errorf("got worker %d, want %d", now, worker)
	}
	for _, c := range []*ctr.Container{hostile, watcher} {
		if n := strings.Count(c.Log(), "event\n"); n != 0 {
			t.Errorf("a container sees %d reads of others", n)
		}
	}
	inside(t, watcher, "cat", "/proc/swaps")
	waitForLog(t, watcher, "event") // the watches work
}

// TestLockedDirectories checks that the hook, check-lxcfs and remount do not need the directories
// that any user can lock.
func TestLockedDirectories(t *testing.T) {
	h := newHost(t)
	h.start(t)
	args := []string{"lock"}
	for _, dir := range []string{"proc", "proc/pressure", mounts.CPUDir, mounts.NodeDir} {
		dir = filepath.Join(h.mountpoint, dir)
		if _, err := os.Stat(dir); err == nil {
			args = append(args, dir)
		}
	}
	locker := exec.Command(filepath.Join(shared.rootfs, "bin/load"), args...)
	locker.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	switch line := ctr.StartReady(t, locker); line {
	case "locked\n":
	case "no userfaultfd\n":
		t.Skip("the kernel has no userfaultfd(2)")
	default:
		t.Fatalf("load lock: %q", line)
	}
	h.must(t, "check-lxcfs")
	c := h.container(t, ctr.Options{Memory: 64 * mib, Hooks: h.hook("--strict")})
	checkVirtual(t, h, c, 64*mib)
	h.must(t, "remount", "--all")
}

// worker returns the pid of the worker.
func (h *host) worker(t *testing.T) int {
	t.Helper()
	pid, err := h.daemon.WorkerPID()
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// TestSharedInodes checks that a container with the mount point gets no lease that blocks others,
// also while the daemon is killed and restarted.
func TestSharedInodes(t *testing.T) {
	h := newHost(t)
	keeper, err := ctr.NewKeeper(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(keeper.Close)
	startKept := func() {
		t.Helper()
		if h.daemon, err = keeper.Start(t.Context(), shared.lxcfs, filepath.Dir(h.mountpoint)); err != nil {
			t.Fatal(err)
		}
	}
	h.must(t, "prestart")
	t.Cleanup(func() { unmount(t, filepath.Dir(h.mountpoint)) })
	startKept()
	t.Cleanup(func() { unmount(t, h.mountpoint) })
	c := h.container(t, ctr.Options{Mounts: []specs.Mount{
		{Destination: "/lxcfs", Type: "bind", Source: h.mountpoint, Options: []string{"rbind"}},
	}})
	var files []string
	served := append(h.servedFiles(t), "/status", cpuDir+"/possible", cpuDir+"/present")
	for _, file := range served {
		files = append(files, "/lxcfs"+file)
	}
	// The supervisor opens the files once the worker serves.
	engine.WaitFor(t, "the supervisor to open the files", func() bool {
		return !slices.ContainsFunc(served, func(file string) bool { return !h.isHeld(t, file) })
	})
	engine.WaitFor(t, "the service manager to store the files", func() bool { return keeper.Has("held") })
	// This process is the service manager. A process with a descriptor of a served file could block on
	// the server.
	for _, pid := range []int{os.Getpid(), h.daemon.PID()} {
		if n := h.openFiles(t, pid); n != 0 {
			t.Errorf("process %d has %d descriptors of served files, want none", pid, n)
		}
	}
	if err := c.ExecStart(t.Context(), append([]string{"/bin/load", "grab"}, files...)...); err != nil {
		t.Fatal(err)
	}
	waitForLog(t, c, "grabbing")
	for range 3 {
		if err := h.daemon.Crash(); err != nil {
			t.Fatal(err)
		}
		startKept()
		inside(t, c, "timeout", "20", "cat", "/lxcfs/proc/uptime")
	}
	for line := range strings.Lines(c.Log()) {
		if _, file, ok := strings.Cut(line, "granted: "); ok &&
			(strings.HasPrefix(file, "write") || strings.Contains(file, "/pressure/")) {
			t.Errorf("a lease was granted: %s", file)
		}
	}
}

// isHeld reports whether another process has the served file open.
func (h *host) isHeld(t *testing.T, file string) bool {
	t.Helper()
	f, err := os.Open(filepath.Join(h.mountpoint, file))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	_, _, errno := syscall.Syscall(syscall.SYS_FCNTL, f.Fd(), syscall.F_SETLEASE, syscall.F_WRLCK)
	return errno == syscall.EAGAIN
}

// openFiles returns the number of a process's descriptors of served files.
func (h *host) openFiles(t *testing.T, pid int) int {
	t.Helper()
	var root, st syscall.Stat_t
	if err := syscall.Stat(h.mountpoint, &root); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join("/proc", strconv.Itoa(pid), "fd")
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, e := range entries {
		if syscall.Stat(filepath.Join(dir, e.Name()), &st) == nil && st.Dev == root.Dev {
			n++
		}
	}
	return n
}

// TestRemountMakesPrivate checks that remount replaces shared files in a container's configuration
// by private ones.
func TestRemountMakesPrivate(t *testing.T) {
	h := newHost(t)
	h.start(t)
	file := func(name string) specs.Mount {
		return specs.Mount{Destination: name, Type: "bind", Source: h.mountpoint + name, Options: []string{"bind"}}
	}
	c := h.container(t, ctr.Options{Mounts: []specs.Mount{file("/proc/meminfo"), file("/proc/uptime")}, Hooks: new(specs.Hooks)})
	h.must(t, "remount", "--all")
	checkVirtual(t, h, c, hostMemory(t))
	if n := strings.Count(mountinfo(t, c), " /private/"); n != len(h.served(t)) {
		t.Errorf("got %d private files, want %d: %s", n, len(h.served(t)), mountinfo(t, c))
	}
	if r := h.report(t, "remount", "--all"); r.Containers[0].Outcome != "unchanged" {
		t.Errorf("the second remount reports %+v", r)
	}
}

// TestPrivateTreesAreHidden checks that only the host's root can look up the private tree of a
// container by its number, and that look-ups do not remove mounts on the container's files.
func TestPrivateTreesAreHidden(t *testing.T) {
	h := newHost(t)
	h.must(t, "prestart")
	t.Cleanup(func() { unmount(t, filepath.Dir(h.mountpoint)) })
	h.start(t)
	victim := h.container(t, ctr.Options{})
	tree := privateTree(t, victim)
	path := filepath.Join(h.mountpoint, "private", tree, "proc/uptime")
	if _, err := os.ReadFile(path); err != nil {
		t.Fatalf("read as the host's root: %v", err)
	}
	inside(t, victim, "mount", "--bind", "/bin/busybox", "/proc/uptime")
	before := lxcfsMounts(t, strconv.Itoa(victim.PID))

	volume := []specs.Mount{{Destination: "/lxcfs", Type: "bind", Source: h.mountpoint, Options: []string{"rbind"}}}
	script := "ls /lxcfs/private && echo listed; cat /lxcfs/private/TREE/proc/uptime; " +
		"stat -t /lxcfs/private/TREE; cd /lxcfs/private/TREE && ls"
	script = "(" + strings.ReplaceAll(script, "TREE", tree) + ") 2>/dev/null; true"
	for name, o := range map[string]ctr.Options{
		"plain": {}, "user namespace": {UserOffset: 200000}, "the host's pid namespace": {HostPID: true},
	} {
		o.Mounts = volume
		if out := inside(t, h.container(t, o), "sh", "-c", script); out != "" {
			t.Errorf("%s: a container sees %q", name, out)
		}
	}
	for name, tt := range map[string]struct {
		args []string
		uid  uint32
		sees bool
	}{
		"another user":             {uid: 65534},
		"root of a user namespace": {args: []string{"unshare", "-U", "-r"}},
		"a pid namespace":          {args: []string{"unshare", "-p", "-f"}},
		"a mount namespace":        {args: []string{"unshare", "-m"}, sees: true},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		args := append(tt.args, "cat", path)
		cmd := exec.CommandContext(ctx, args[0], args[1:]...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: tt.uid, Gid: tt.uid}}
		out, err := cmd.Output()
		cancel()
		if sees := len(out) > 0; sees != tt.sees {
			t.Errorf("%s: reads %q, %v", name, out, err)
		}
	}
	if after := lxcfsMounts(t, strconv.Itoa(victim.PID)); !slices.Equal(after, before) {
		t.Errorf("the container's mounts changed: got\n%q\nwant\n%q", after, before)
	}
	if text := inside(t, victim, "head", "-c", "4", "/proc/uptime"); text != "\x7fELF" {
		t.Errorf("the mount on uptime is gone: %q", text)
	}
}

// privateTree returns the number of the container's private tree.
func privateTree(t *testing.T, c *ctr.Container) string {
	t.Helper()
	_, path, ok := strings.Cut(mountinfo(t, c), " /private/")
	if !ok {
		t.Fatalf("the container has no private files: %s", mountinfo(t, c))
	}
	tree, _, _ := strings.Cut(path, "/")
	return tree
}

// mountinfo returns the container's mount table.
func mountinfo(t *testing.T, c *ctr.Container) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(c.PID), "mountinfo"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
