package fusedev_test

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"palisade/internal/linux/sys"
	"palisade/internal/lxcfs/fusedev"
)

// files is a file system with one directory and a few files, which behave as their names say.
type files struct {
	panics   atomic.Int64
	looked   atomic.Int64 // calls of CPU
	released atomic.Int64
	rescued  atomic.Int64
	reads    atomic.Int64
	replayed atomic.Int64 // reads with MaybeAnswered
	content  []byte
	session  *fusedev.Session
	conn     *fusedev.Conn
	polled   chan uint64
	slow     chan struct{} // closed to unblock reads of the slow file
	onSlow   func()        // called at the begin of these reads, if not nil
	ready    atomic.Bool
	readers  chan uint32 // user ids of the readers of the late file
	// late is the number of its reads at the moment, mostLate the maximum.
	late, mostLate atomic.Int64
}

const (
	idText = iota + 2
	idPanic
	idPoll
	idForbidden
	idSlow
	idStuckAttr
	idEmpty
	idLate
)

var names = map[string]uint64{
	"text": idText, "panic": idPanic, "poll": idPoll, "forbidden": idForbidden, "slow": idSlow,
	"stuck-attr": idStuckAttr, "empty": idEmpty, "late": idLate,
}

func attr(id uint64, out *fuse.Attr) {
	out.Ino, out.Mode, out.Nlink, out.Size = id, syscall.S_IFREG|0o444, 1, 4096
	if id == 1 {
		out.Mode = syscall.S_IFDIR | 0o755
	}
}

func (f *files) Open(r *fusedev.Request, _ uint32) (uint64, syscall.Errno) {
	if r.Node == idForbidden {
		return 0, syscall.EACCES
	}
	return 1, 0
}

func (f *files) Read(r *fusedev.Request, _, offset uint64, _ int, dst []byte) (
	[]byte, syscall.Errno,
) {
	f.reads.Add(1)
	if r.MaybeAnswered {
		f.replayed.Add(1)
	}
	switch r.Node {
	case idPanic:
		panic("in a read")
	case idSlow:
		if offset == 0 {
			if f.onSlow != nil {
				f.onSlow()
			}
			<-f.slow
		}
	case idLate:
		n := f.late.Add(1)
		defer f.late.Add(-1)
		for most := f.mostLate.Load(); n > most && !f.mostLate.CompareAndSwap(most, n); {
			most = f.mostLate.Load()
		}
		time.Sleep(5 * time.Millisecond)
		if offset == 0 && f.readers != nil {
			f.readers <- r.UID
		}
	}
	// More than size on purpose: the transport cuts off the excess.
	return append(dst, f.content[min(offset, uint64(len(f.content))):]...), 0
}

func (f *files) Rescue(_ *fusedev.Request, _, offset uint64, _ int, dst []byte) (
	[]byte, syscall.Errno,
) {
	f.rescued.Add(1)
	text := "rescued\n"
	return append(dst, text[min(offset, uint64(len(text))):]...), 0
}

func (f *files) Access(*fusedev.Request, uint32) syscall.Errno { return 0 }

func (f *files) RescueAttr(r *fusedev.Request, out *fuse.AttrOut) syscall.Errno {
	f.rescued.Add(1)
	attr(r.Node, &out.Attr)
	out.Size = uint64(len("rescued\n"))
	return 0
}

func (f *files) Release(*fusedev.Request, uint64) { f.released.Add(1) }

func (f *files) Poll(r *fusedev.Request, _, kh uint64, notify bool) (uint32, syscall.Errno) {
	if r.Node != idPoll {
		return sys.EventReadable, 0
	}
	if f.ready.Load() {
		return sys.EventPri, 0
	}
	if notify {
		f.polled <- kh
	}
	return 0, 0
}

func (f *files) Class(r *fusedev.Request, _ uint64) uint64 { return uint64(r.UID) + 1 }

func (f *files) CPU(*fusedev.Request) (int, bool) {
	f.looked.Add(1)
	return 0, true
}

func (f *files) Panicked(any) { f.panics.Add(1) }

func mount(t *testing.T, content []byte) (string, *files) {
	t.Helper()
	return mountWith(t, content, time.Minute)
}

// mountWith mounts a file system whose requests are rescued after timeout.
func mountWith(t *testing.T, content []byte, timeout time.Duration) (string, *files) {
	t.Helper()
	dir, fs := prepare(t, content)
	fs.serve(t, timeout)
	return dir, fs
}

// prepare mounts a file system that no process serves yet.
func prepare(t *testing.T, content []byte) (string, *files) {
	t.Helper()
	return prepareFor(t, content, 4)
}

// prepareFor is like prepare for a number of threads.
func prepareFor(t *testing.T, content []byte, threads int) (string, *files) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("mounting needs root")
	}
	dir := t.TempDir()
	dev, err := fusedev.Mount(dir, "fusedev-test")
	if err != nil {
		t.Fatal(err)
	}
	fs := &files{content: content, polled: make(chan uint64, 10), slow: make(chan struct{})}
	if fs.session, err = fusedev.NewSession(dev, threads); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := sys.Unmount(dir, 0); err != nil {
			t.Error(err)
			sys.Unmount(dir, sys.UnmountDetach)
		}
		if fs.conn != nil {
			fs.conn.Wait()
		}
		fs.session.Close()
	})
	return dir, fs
}

func (f *files) serve(t *testing.T, timeout time.Duration) {
	t.Helper()
	var err error
	fs := tree{fuse.NewDefaultRawFileSystem(), f}
	f.conn, err = fusedev.NewConn(f.session, f, fs, new(atomic.Uint64))
	if err != nil {
		t.Fatal(err)
	}
	f.conn.Timeout = timeout
	f.conn.SetPause(time.Minute) // on a slow machine, too, a loop has no pauses
	f.conn.Start()
}

// tree implements the requests that go-fuse handles.
type tree struct {
	fuse.RawFileSystem
	files *files
}

func (tree) Lookup(
	_ <-chan struct{}, _ *fuse.InHeader, name string, out *fuse.EntryOut,
) fuse.Status {
	if name == "lookup-panic" {
		panic("in go-fuse")
	}
	id, ok := names[name]
	if !ok {
		return fuse.ENOENT
	}
	out.NodeId = id
	if id == idEmpty {
		out.SetEntryTimeout(time.Hour) // a LOOKUP would refresh the size
	}
	attr(id, &out.Attr)
	return fuse.OK
}

func (f tree) GetAttr(_ <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	attr(in.NodeId, &out.Attr)
	switch in.NodeId {
	case idStuckAttr:
		<-f.files.slow
	case idEmpty:
		out.Size = 0
		if err := f.files.conn.KeepCachedSize(in.NodeId); err != nil {
			return fuse.EIO
		}
	}
	return fuse.OK
}

// run runs a program that accesses the mount. This process must not: it serves the mount.
func run(t *testing.T, name string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	err := cmd.Run()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, stderr.String())
	}
	return out.String(), err
}

func TestReads(t *testing.T) {
	content := []byte(strings.Repeat("0123456789abcde\n", 20000)) // 320 kB: at least three requests
	dir, fs := mount(t, content)
	for _, blockSize := range []string{"1M", "64k", "4096", "1000"} {
		got, err := run(t, "dd", "status=none", "bs="+blockSize, "if="+filepath.Join(dir, "text"))
		if err != nil || got != string(content) {
			t.Errorf("blocks of %s: got %d bytes, %v; want %d", blockSize, len(got), err, len(content))
		}
	}
	got, err := run(t, "tail", "-c", "+319990", filepath.Join(dir, "text"))
	if err != nil || got != string(content[319989:]) {
		t.Errorf("read of the end: %q, error %v", got, err)
	}
	if !eventually(5*time.Second, func() bool { return fs.released.Load() >= 5 }) {
		t.Fatalf("%d handles released, want 5", fs.released.Load())
	}
}

// eventually polls condition until it is true, and returns false after the timeout.
func eventually(timeout time.Duration, condition func() bool) bool {
	for end := time.Now().Add(timeout); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			return false
		}
	}
	return true
}

// wantText checks the content of the file "text".
func wantText(t *testing.T, dir string) {
	t.Helper()
	if got, err := run(t, "cat", filepath.Join(dir, "text")); err != nil || got != "text\n" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestErrors(t *testing.T) {
	dir, fs := mount(t, []byte("text\n"))
	tests := []struct {
		name, file, want string
	}{
		{"a panic in a read", "panic", "Input/output error"},
		{"a panic in a look-up", "lookup-panic", "Cannot allocate memory"},
		{"an error from the handler", "forbidden", "Permission denied"},
		{"no such file", "nothing", "No such file"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			// Unlike busybox's cat, dd reads once.
			_, err := run(t, "dd", "if="+filepath.Join(dir, tt.file))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			wantText(t, dir)
		})
	}
	if got := fs.panics.Load(); got != 2 {
		t.Errorf("%d panics reported, want 2", got)
	}
}

// pollArgument makes the test binary wait up to 20 s for POLLPRI on a file, and print whether it
// came.
const pollArgument = "-poll-for-test"

func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == pollArgument {
		f, err := os.Open(os.Args[2])
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fds := []unix.PollFd{{Fd: int32(f.Fd()), Events: unix.POLLPRI}}
		n := 0
		for deadline := time.Now().Add(20 * time.Second); n == 0 && time.Now().Before(deadline); {
			if n, err = unix.Poll(fds, 1000); err != nil && err != unix.EINTR {
				fmt.Println(err)
				os.Exit(1)
			}
		}
		fmt.Println(n == 1 && fds[0].Revents == unix.POLLPRI)
		os.Exit(0)
	}
	if len(os.Args) == 3 && os.Args[1] == largeArgument {
		sendLarge(os.Args[2])
		os.Exit(0)
	}
	if len(os.Args) == 2 && os.Args[1] == serveArgument {
		if err := serveForTest(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestPollNotification(t *testing.T) {
	dir, fs := mount(t, nil)
	done := make(chan string)
	go func() {
		out, err := run(t, os.Args[0], pollArgument, filepath.Join(dir, "poll"))
		done <- fmt.Sprint(out, err)
	}()
	var handle uint64
	select {
	case handle = <-fs.polled:
	case out := <-done:
		t.Fatalf("poll returned without an event: %s", out)
	}
	fs.ready.Store(true)
	if err := fs.conn.NotifyPoll(handle); err != nil {
		t.Fatal(err)
	}
	if got := <-done; got != "true\n<nil>" {
		t.Errorf("poll: got %q, want true", got)
	}
}

// TestSlowReads blocks three of four threads in reads: other reads must be served.
func TestSlowReads(t *testing.T) {
	dir, fs := mount(t, []byte("text\n"))
	var slow sync.WaitGroup
	for range 3 {
		slow.Go(func() {
			if got, err := run(t, "cat", filepath.Join(dir, "slow")); err != nil || got != "text\n" {
				t.Errorf("slow read: %q, %v", got, err)
			}
		})
	}
	for range 20 {
		wantText(t, dir)
	}
	// The kernel waits for no answer to the RELEASE of another file.
	if !eventually(10*time.Second, func() bool { return fs.conn.Busy() == 3 }) {
		t.Errorf("%d busy threads, want 3", fs.conn.Busy())
	}
	wantText(t, dir)
	close(fs.slow)
	slow.Wait()
}

// TestAllThreadsStuck blocks all threads in requests: Answers must be false until the requests are
// answered.
func TestAllThreadsStuck(t *testing.T) {
	dir, fs := mount(t, []byte("text\n"))
	reports := func(want bool) {
		t.Helper()
		if !eventually(10*time.Second, func() bool { return fs.conn.Answers() == want }) {
			t.Fatalf("with %d busy threads Answers is never %v", fs.conn.Busy(), want)
		}
	}
	reports(true)
	var slow sync.WaitGroup
	read := func() {
		slow.Go(func() {
			if got, err := run(t, "cat", filepath.Join(dir, "slow")); err != nil || got != "text\n" {
				t.Errorf("slow read: %q, %v", got, err)
			}
		})
	}
	for range 3 {
		read()
	}
	reports(true)
	wantText(t, dir)
	read()
	reports(false)
	answered := fs.session.Answered().Load()
	if answered == 0 {
		t.Error("no request was counted")
	}
	close(fs.slow)
	slow.Wait()
	reports(true)
	if got := fs.session.Answered().Load(); got < answered+4 {
		t.Errorf("%d requests counted, want at least %d", got, answered+4)
	}
}

// TestStuckRead blocks threads in reads: Rescue answers the readers, and the late answers of the
// threads are dropped.
func TestStuckRead(t *testing.T) {
	dir, fs := mountWith(t, []byte("text\n"), 500*time.Millisecond)
	for i := range 3 { // of four threads
		got, err := run(t, "cat", filepath.Join(dir, "slow"))
		if err != nil || !strings.HasPrefix(got, "rescued\n") {
			t.Errorf("stuck read %d: %q, %v", i, got, err)
		}
	}
	wantText(t, dir)
	close(fs.slow)
	eventually(10*time.Second, func() bool { return fs.conn.Busy() == 0 })
	for range 20 {
		wantText(t, dir)
	}
	if got := fs.rescued.Load(); got < 3 {
		t.Errorf("%d requests were rescued", got)
	}
}

// serveArgument makes the test binary serve the session in its passed files until it is killed. It
// prints a line at the begin of a slow read.
const serveArgument = "-serve-for-test"

func serveForTest() error {
	passed, err := sys.PassedFiles(true)
	if err != nil {
		return err
	}
	session, err := fusedev.OpenSession(passed)
	if err != nil {
		return err
	}
	fs := &files{content: []byte("first\n"), onSlow: func() { fmt.Println("slow") }}
	names := tree{fuse.NewDefaultRawFileSystem(), nil}
	conn, err := fusedev.NewConn(session, fs, names, new(atomic.Uint64))
	if err != nil {
		return err
	}
	conn.Timeout = time.Minute
	conn.Start()
	conn.Wait()
	return nil
}

// startServing starts a process that serves the session, and returns its output.
func startServing(t *testing.T, s *fusedev.Session) (*exec.Cmd, *bufio.Reader) {
	t.Helper()
	cmd := exec.Command(os.Args[0], serveArgument)
	cmd.Stderr = os.Stderr
	var passed []string
	for _, f := range s.Files() {
		fd, err := unix.FcntlInt(uintptr(f.File.Fd()), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		file := os.NewFile(uintptr(fd), f.Name)
		defer file.Close()
		passed, cmd.ExtraFiles = append(passed, f.Name), append(cmd.ExtraFiles, file)
	}
	cmd.Env = append(os.Environ(),
		"LISTEN_FDS="+strconv.Itoa(len(passed)), "LISTEN_FDNAMES="+strings.Join(passed, ":"))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() }) // fails if the test has killed it
	return cmd, bufio.NewReader(out)
}

// TestNextProcess kills a process while it serves one request and has just answered others: the
// next process must serve that request, and none of the others.
func TestNextProcess(t *testing.T) {
	dir, fs := prepare(t, []byte("next\n"))
	first, output := startServing(t, fs.session)
	slow := make(chan string)
	go func() {
		file := filepath.Join(dir, "slow")
		got, err := run(t, "dd", "status=none", "bs=4096", "count=1", "if="+file)
		slow <- fmt.Sprint(got, err)
	}()
	if line, err := output.ReadString('\n'); err != nil {
		t.Fatalf("%q, %v", line, err)
	}
	// The file stays open, so that a READ is the last request.
	const script = `exec 3<"$1"; dd status=none bs=4096 count=1 <&3; echo done; exec sleep 1000`
	reader := exec.Command("sh", "-c", script, "sh", filepath.Join(dir, "text"))
	out, err := reader.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := reader.Start(); err != nil {
		t.Fatal(err)
	}
	defer reader.Wait() // returns the signal
	defer reader.Process.Kill()
	for lines, want := bufio.NewReader(out), []string{"first\n", "done\n"}; len(want) > 0; want = want[1:] {
		if line, err := lines.ReadString('\n'); err != nil || line != want[0] {
			t.Fatalf("read: %q, %v", line, err)
		}
	}
	answered := 0
	eventually(10*time.Second, func() bool { // the process may not have cleared the slot yet
		answered = fs.session.LeaveRequests()
		return answered > 0
	})
	if err := first.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	first.Wait() // returns the signal
	close(fs.slow)
	fs.serve(t, time.Minute)
	if got := <-slow; got != "next\n<nil>" {
		t.Errorf("the reader of the slow file got %q", got)
	}
	reads, replayed := fs.reads.Load(), fs.replayed.Load()
	if answered < 1 || reads != 1 || replayed != 0 {
		t.Errorf("after %d answered reads: %d more, %d maybe answered; want 1, 0",
			answered, reads, replayed)
	}
}

// TestStuckGetAttr asks for the size of a file while GetAttr is stuck: RescueAttr answers.
func TestStuckGetAttr(t *testing.T) {
	dir, fs := mountWith(t, nil, 500*time.Millisecond)
	got, err := run(t, "stat", "-c", "%s", filepath.Join(dir, "stuck-attr"))
	if err != nil || got != "8\n" || fs.rescued.Load() == 0 {
		t.Errorf("size %q, %v, after %d rescues", got, err, fs.rescued.Load())
	}
	close(fs.slow)
}

// TestKeepCachedSize reports size 0 to stat(2). A later sendfile(2) must not see an empty file.
func TestKeepCachedSize(t *testing.T) {
	dir, _ := mount(t, []byte("text\n"))
	file := filepath.Join(dir, "empty")
	for range 2 {
		if got, err := run(t, "stat", "-c", "%s", file); err != nil || got != "0\n" {
			t.Errorf("size %q, %v", got, err)
		}
		if got, err := run(t, "busybox", "cat", file); err != nil || got != "text\n" {
			t.Errorf("read %q, %v", got, err)
		}
	}
}

// TestOldSession opens the session of an earlier version, whose mounts have default_permissions.
func TestOldSession(t *testing.T) {
	_, fs := prepare(t, nil)
	if fs.session.KernelChecksAccess() {
		t.Error("the kernel checks modes on a mount without default_permissions")
	}
	for version, ok := range map[uint32]bool{0: false, 1: true, 2: true, 4: false} {
		if err := fs.session.Downgrade(min(max(version, 1), 2)); err != nil {
			t.Fatal(err)
		}
		fs.session.SetVersion(version)
		session, err := fusedev.OpenSession(fs.session.Files())
		if (err == nil) != ok {
			t.Errorf("version %d: %v", version, err)
		}
		if err == nil && session.KernelChecksAccess() != (version == 1) {
			t.Errorf("version %d: the kernel checks modes: %v", version, session.KernelChecksAccess())
		}
	}
	if err := fs.session.Downgrade(2); err != nil {
		t.Fatal(err)
	}
	fs.serve(t, time.Minute)
}

// startReaders starts readers of the late file as a user, whose results it sends on the channel.
func startReaders(t *testing.T, dir string, n int, uid uint32, results chan<- string) {
	t.Helper()
	for range n {
		cmd := exec.CommandContext(t.Context(), "cat", filepath.Join(dir, "late"))
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
		go func() {
			out, err := cmd.CombinedOutput()
			results <- fmt.Sprint(string(out), err)
		}()
	}
}

// TestTurns starts many readers of a class, and then one of another, while no process serves them:
// the one is served after few of the many.
func TestTurns(t *testing.T) {
	const many, other = 1000, 1001
	dir, fs := prepare(t, []byte("text\n"))
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	const n = 40
	fs.readers = make(chan uint32, n+1)
	results := make(chan string, n+1)
	startReaders(t, dir, n, many, results)
	time.Sleep(300 * time.Millisecond) // their requests wait in the kernel
	startReaders(t, dir, 1, other, results)
	time.Sleep(100 * time.Millisecond)
	fs.serve(t, time.Minute)
	before := 0
	for range n + 1 {
		if got := <-results; got != "text\n<nil>" {
			t.Fatalf("read %q", got)
		}
	}
	for <-fs.readers != other {
		before++
	}
	if before > n/2 {
		t.Errorf("%d of %d readers of another class were served before", before, n)
	}
}

// TestNextProcessWithQueue kills processes that have queued requests: the next one answers them, on
// a mount of an earlier version, too, which has no queue.
func TestNextProcessWithQueue(t *testing.T) {
	for _, version := range []uint32{2, 3} {
		t.Run(fmt.Sprint("version ", version), func(t *testing.T) {
			dir, fs := prepare(t, []byte("first\n"))
			if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
				t.Fatal(err)
			}
			if version == 2 {
				if err := fs.session.Downgrade(2); err != nil {
					t.Fatal(err)
				}
			}
			const n = 100
			results := make(chan string, n)
			startReaders(t, dir, n, 1000, results)
			for range 5 {
				before := fs.session.Answered().Load()
				process, _ := startServing(t, fs.session)
				eventually(20*time.Second, func() bool {
					isQueued := version == 2 || fs.session.Queued() > 0
					return isQueued && fs.session.Answered().Load() > before
				})
				if err := process.Process.Kill(); err != nil {
					t.Fatal(err)
				}
				process.Wait() // returns the signal
				if version == 3 && fs.session.Queued() == 0 {
					t.Error("the killed process had no queued requests")
				}
			}
			fs.serve(t, time.Minute)
			for range n {
				if got := <-results; got != "first\n<nil>" {
					t.Errorf("read %q", got)
				}
			}
		})
	}
}

// TestOldSessionHasThreads reads with many readers from a mount of an earlier version, which has no
// queue: more than one thread answers them.
func TestOldSessionHasThreads(t *testing.T) {
	dir, fs := prepare(t, []byte("text\n"))
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := fs.session.Downgrade(2); err != nil {
		t.Fatal(err)
	}
	fs.serve(t, time.Minute)
	const n = 60
	results := make(chan string, n)
	startReaders(t, dir, n, 1000, results)
	for range n {
		if got := <-results; got != "text\n<nil>" {
			t.Errorf("read %q", got)
		}
	}
	if got := fs.mostLate.Load(); got < 2 {
		t.Errorf("at most %d reads at a time, want more", got)
	}
}

// TestQueuedBesideStuck queues a request while one of two threads is stuck, and the other waits in
// the kernel for a request: it is answered.
func TestQueuedBesideStuck(t *testing.T) {
	dir, fs := prepareFor(t, []byte("text\n"), 2)
	begun := make(chan bool, 1)
	fs.onSlow = func() { begun <- true }
	fs.serve(t, time.Minute)
	slow := make(chan error, 1)
	go func() {
		_, err := run(t, "cat", filepath.Join(dir, "slow"))
		slow <- err
	}()
	<-begun
	wantText(t, dir) // so the second thread is awake
	for range 20 {
		result := make(chan string, 1)
		go func() {
			got, err := run(t, "cat", filepath.Join(dir, "text"))
			result <- fmt.Sprint(got, err)
		}()
		eventually(time.Second, func() bool { return fs.conn.Collect() > 0 || len(result) > 0 })
		select {
		case got := <-result:
			if got != "text\n<nil>" {
				t.Fatalf("read %q", got)
			}
		case <-time.After(10 * time.Second):
			t.Fatal("a queued request is not answered")
		}
	}
	close(fs.slow)
	if err := <-slow; err != nil {
		t.Error(err)
	}
}

// largeArgument makes the test binary send requests with large arguments for the file that follows,
// and print the errors.
const largeArgument = "-large-for-test"

func sendLarge(path string) {
	const xattr, argument = 64 << 10, 16000
	fmt.Println(unix.Setxattr(path, "user.x", make([]byte, xattr), 0))
	f, err := os.Open(path)
	if err != nil {
		fmt.Println(err)
		return
	}
	var text [argument]byte
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), 1<<30|argument<<16|0x7801,
		uintptr(unsafe.Pointer(&text)))
	fmt.Println(errno)
}

// TestLargeRequests checks that the errors of requests that are larger than most are not those of
// the transport.
func TestLargeRequests(t *testing.T) {
	dir, _ := mount(t, []byte("text\n"))
	got, err := run(t, os.Args[0], largeArgument, filepath.Join(dir, "text"))
	want := fmt.Sprintln(syscall.EOPNOTSUPP) + fmt.Sprintln(syscall.ENOTTY)
	if err != nil || got != want {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
}

// TestFollow reads in a loop, so that the thread moves to CPU 0 while it serves.
func TestFollow(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	dir, f := mount(t, []byte("content"))
	for range 100 {
		if got, err := os.ReadFile(filepath.Join(dir, "text")); err != nil || string(got) != "content" {
			t.Fatalf("%q, %v", got, err)
		}
	}
	if f.looked.Load() == 0 {
		t.Error("the thread has not looked for the reader's CPU")
	}
}
