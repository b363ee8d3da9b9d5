package sys

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"palisade/internal/linux/testns"
)

// TestMounts makes mounts in the test's own namespace, and in one of a thread.
func TestMounts(t *testing.T) {
	testns.Need(t)
	dir, path := openDir(t, map[string]string{"f": "x"})
	check(t, dir.Mkdir("a"))
	check(t, dir.Mkdir("b"))
	a, b := filepath.Join(path, "a"), filepath.Join(path, "b")
	check(t, Mount("tmpfs", a, "tmpfs", MountNoSuid|MountNoDev, ""))
	check(t, MakeShared(a))
	check(t, MakePrivate(a))
	check(t, BindMountSelf(a))
	check(t, Unmount(a, UnmountDetach))
	check(t, BindMountOn(a, b))
	check(t, dir.UnmountAt("b"))
	if err := Unmount(b, 0); !IsNotMounted(err) {
		t.Errorf("unmounted twice: %v", err)
	}
	from, err := OpenDir(a)
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	to, err := OpenDir(b)
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	check(t, from.BindOn(to))
	check(t, Unmount(b, UnmountDetach))
	clone, err := from.CloneMountTree()
	if IsUnsupported(err) {
		t.Skip("before Linux 5.2")
	} else if err != nil {
		t.Fatal(err)
	}
	defer clone.Close()
	for _, err := range []error{clone.RestrictMount(), clone.IsolateMount(), clone.MakeMountPrivate()} {
		if !IsUnsupported(err) {
			check(t, err)
		}
	}
	check(t, clone.LimitMount(MountLimits{ReadOnly: true}))
	check(t, clone.MoveMount(to, false))
	check(t, Unmount(b, UnmountDetach))
	ns, err := Open("/proc/thread-self/ns/mnt")
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	check(t, InMountNamespace(ns, func(thread *NamespaceThread) error {
		check(t, thread.Bind(from, to))
		on, err := dir.OpenPathAt("b")
		if err != nil {
			return err
		}
		defer on.Close()
		check(t, thread.Restrict(on))
		return thread.Unmount(dir, "b")
	}))
	check(t, Unmount(a, UnmountDetach))
	check(t, AsOwner(0, 0, func() error { return dir.Mkdir("owned") }))
}

// TestIDMap idmaps a mount, which needs root of the host or a tmpfs of the namespace.
func TestIDMap(t *testing.T) {
	testns.Need(t)
	path := t.TempDir()
	check(t, Mount("tmpfs", path, "tmpfs", 0, ""))
	defer Unmount(path, UnmountDetach)
	ids := []syscall.SysProcIDMap{{Size: 1}}
	ns, err := NewUserNamespace(ids, ids)
	if err != nil {
		t.Skip(err)
	}
	defer ns.Close()
	dir, err := OpenDir(path)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	clone, err := dir.CloneMount()
	if err != nil {
		t.Skip(err)
	}
	defer clone.Close()
	if err := clone.IDMapMount(ns); err != nil && !IDMapUnsupported(err) &&
		!errors.Is(err, os.ErrPermission) {
		t.Error(err)
	}
}

// TestNamespaces queries the namespaces of this process.
func TestNamespaces(t *testing.T) {
	self, err := OpenDir("/proc/thread-self")
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	ns, err := self.OpenAt("ns/pid")
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	want, err := ns.Inode()
	got, err2 := self.ReadNamespace([]byte("ns/pid\x00"), make([]byte, 64))
	if err := errors.Join(err, err2); err != nil || got != want {
		t.Errorf("got %d, %v, want %d", got, err, want)
	}
	if _, err := self.ReadNamespace([]byte("cwd\x00"), make([]byte, 4096)); err == nil {
		t.Error("parsed a link to a directory")
	}
	if pid, err := ns.PIDInNamespace(os.Getpid()); !errors.Is(err, syscall.ENOTTY) {
		if err != nil || pid != os.Getpid() {
			t.Errorf("pid %d, %v", pid, err)
		}
		init, err := ns.NamespaceInit()
		if err != nil || init != 1 {
			t.Errorf("init %d, %v", init, err)
		}
	}
	if _, err := ns.ParentNamespace(); !IsUnknownNamespace(err) {
		t.Errorf("parent: %v", err)
	}
	if uid, err := ns.Creator(); err != nil || uid != 0 {
		t.Errorf("creator %d, %v", uid, err)
	}
	cgroups, err := self.OpenAt("ns/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	defer cgroups.Close()
	entered := false
	if err := InCgroupNamespace(cgroups, func() { entered = true }); err == nil && !entered {
		t.Error("the function was not called")
	}
}

// TestPoller waits for a pipe.
func TestPoller(t *testing.T) {
	r, w, err := Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	p, err := NewPoller()
	if err != nil {
		t.Fatal(err)
	}
	defer p.ep.Close()
	check(t, p.Add(r, EventIn, 7))
	if r.Ready() || r.HasFailed() {
		t.Error("an empty pipe is ready")
	}
	if n, err := w.Write([]byte("x")); n != 1 || err != nil {
		t.Errorf("wrote %d, %v", n, err)
	}
	if e, err := p.Wait(); err != nil || len(e) != 1 || e[0].Token != 7 || !r.Ready() {
		t.Errorf("got %+v, %v", e, err)
	}
	if got := ReadyFiles([]File{{}, w, r}); !slices.Equal(got, []bool{false, false, true}) {
		t.Errorf("ready: %v, want only the last", got)
	}
	if n, err := r.Read(make([]byte, 10)); n != 1 || err != nil {
		t.Errorf("read %d, %v", n, err)
	}
	check(t, p.Remove(r))
	check(t, r.Close())
	if !w.HasFailed() {
		t.Error("a pipe without a reader has not failed")
	}
	w.Close()
	pidfd, err := OpenPidfd(os.Getpid())
	if err == nil && pidfd.Ready() {
		t.Error("this process has ended")
	}
	pidfd.Close()
}

// TestMemfd shares memory.
func TestMemfd(t *testing.T) {
	f, err := MemfdCreate("test", 4096)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	mem, err := f.Map(4096)
	if err != nil {
		t.Fatal(err)
	}
	other, err := f.ReopenReadOnly()
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	seen, err := other.MapReadOnly(4096)
	if err != nil {
		t.Fatal(err)
	}
	Uint32In(mem[8:]).Store(6)
	if Uint32In(seen[8:]).Load() != 6 {
		t.Error("the other mapping has another value")
	}
	if _, err := other.Map(4096); err == nil {
		t.Error("mapped for writing")
	}
	check(t, Unmap(mem))
	check(t, Unmap(seen))
}

// TestReopener opens a file for writing by another process, which permits one file.
func TestReopener(t *testing.T) {
	path := t.TempDir()
	good, bad := writeFile(t, path, "good", ""), writeFile(t, path, "bad", "")
	if f, err := ReopenForWriting(File{}, good); err != nil {
		t.Error(err)
	} else {
		f.Close()
	}
	reopener, client, err := NewReopener()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan bool)
	go func() {
		reopener.Serve(func(_ int64, path string) bool { return path == good })
		close(done)
	}()
	f, err := ReopenForWriting(client, good)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := f.Write([]byte("x")); n != 1 || err != nil {
		t.Errorf("wrote %d, %v", n, err)
	}
	f.Close()
	if _, err := ReopenForWriting(client, bad); !errors.Is(err, syscall.EACCES) {
		t.Errorf("a file that is not permitted: %v", err)
	}
	client.Close()
	<-done
	a, b, err := SocketPair()
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	check(t, SendFile(a, a))
	a.Close()
	if _, _, f, err := receive(b); err != nil || !f.IsOpen() {
		t.Errorf("received %d, %v", f.Fd(), err)
	} else {
		f.Close()
	}
}

// TestSockets passes a listener, and counts bytes that were not read.
func TestSockets(t *testing.T) {
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	f, err := ListenerFile(l)
	if err != nil {
		t.Fatal(err)
	}
	passed, err := f.Listener("test")
	if err != nil {
		t.Fatal(err)
	}
	defer passed.Close()
	conn, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("x")); err != nil {
		t.Error(err)
	}
	if n, err := Unread(conn.(*net.UnixConn)); err != nil || n == 0 {
		t.Errorf("unread %d, %v", n, err)
	}
}

// TestSpawner starts a program with a file.
func TestSpawner(t *testing.T) {
	testns.Need(t)
	r, w, err := Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	s, err := NewSpawner(CapSysAdmin)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.SetTimerSlack(3 * time.Millisecond); err != nil {
		t.Error(err)
	}
	const script = "cat /proc/self/timerslack_ns >&3; grep -E 'NoNewPrivs|CapBnd' /proc/self/status >&3; echo $LISTEN_FDNAMES >&3"
	p, err := s.Start("/bin/sh", []string{"sh", "-c", script}, os.Environ(), []NamedFile{{"out", w}})
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	state, err := p.Wait()
	buf := make([]byte, 1000)
	n, err2 := r.Read(buf)
	text := string(buf[:n])
	if err := errors.Join(err, err2); err != nil || !state.Success() ||
		!strings.HasPrefix(text, "3000000\n") || !strings.Contains(text, "NoNewPrivs:\t1") || !strings.HasSuffix(text, "out\n") ||
		!strings.Contains(text, "CapBnd:\t0000000000200000") {
		t.Errorf("got %q, %v, %v", text, state, err)
	}
	if _, err := s.Start("/nowhere", nil, nil, nil); err == nil {
		t.Error("started a missing program")
	}
}

func TestClocks(t *testing.T) {
	if boot, mono := SinceBoot(), Monotonic(); mono <= 0 || boot < mono-time.Second {
		t.Errorf("%v since boot, %v without suspension", boot, mono)
	}
	if info, err := ReadSysinfo(); err != nil || info.MemTotal == 0 || info.SwapFree > info.SwapTotal {
		t.Errorf("got %+v, %v", info, err)
	}
	if missing, err := MissingCapabilities(); err != nil || len(missing) > 6 {
		t.Errorf("missing %q, %v", missing, err)
	}
}

func TestPassedFiles(t *testing.T) {
	t.Setenv("LISTEN_PID", "1000000")
	t.Setenv("LISTEN_FDS", "1")
	t.Setenv("LISTEN_FDNAMES", "a:b")
	if files, err := PassedFiles(false); err != nil || files != nil {
		t.Errorf("for another process: %v, %v", files, err)
	}
	t.Setenv("LISTEN_FDS", "1")
	t.Setenv("LISTEN_FDNAMES", "a:b")
	if files, err := PassedFiles(true); err == nil {
		t.Errorf("two names for one file: %v", files)
	}
}

// TestProcessLinks finds the files of this process.
func TestProcessLinks(t *testing.T) {
	f, err := Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	found := make(map[string]bool)
	for link := range ProcessLinks(os.Getpid()) {
		target, _ := os.Readlink(link)
		found[target] = true
	}
	program, err := os.Readlink("/proc/self/exe")
	if err != nil || !found[program] || !found["/"] || !found[os.DevNull] {
		t.Errorf("found %v", found)
	}
}

// TestOnOwnThread checks that nothing runs on the main thread, which the runtime parks when the
// goroutine on it ends: the process would keep the ids and namespaces that it has then.
func TestOnOwnThread(t *testing.T) {
	for range 20 {
		var all sync.WaitGroup
		for range 64 { // enough for all threads that there are
			all.Go(func() {
				err := onOwnThread(func() error {
					if unix.Gettid() == unix.Getpid() {
						return errors.New("on the main thread")
					}
					time.Sleep(time.Millisecond)
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
	}
}
