package fusedev_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"palisade/internal/fusedev"
	"palisade/internal/sys"
)

// files is a file system with one directory and a few files, each of which behaves as its name says.
type files struct {
	panics   atomic.Int64
	released atomic.Int64
	rescued  atomic.Int64
	reads    atomic.Int64
	doubtful atomic.Int64
	content  []byte
	session  *fusedev.Session
	conn     *fusedev.Conn
	polled   chan uint64
	slow     chan struct{} // closed when reads of the slow file may end
	// beginsSlow is called when one begins, if it is not nil.
	beginsSlow func()
	ready      atomic.Bool
}

const (
	idText = iota + 2
	idPanic
	idPoll
	idForbidden
	idSlow
	idStuckAttr
	idEmpty
)

var names = map[string]uint64{"text": idText, "panic": idPanic, "poll": idPoll, "forbidden": idForbidden, "slow": idSlow,
	"stuck-attr": idStuckAttr, "empty": idEmpty}

func attr(id uint64, out *fuse.Attr) {
	out.Ino, out.Mode, out.Nlink, out.Size = id, syscall.S_IFREG|0o444, 1, 4096
	if id == 1 {
		out.Mode = syscall.S_IFDIR | 0o755
	}
}

func (f *files) Open(r *fusedev.Request, _ uint32) (uint64, uint32, syscall.Errno) {
	if r.Node == idForbidden {
		return 0, 0, syscall.EACCES
	}
	return 1, fusedev.OpenDirectIO | fusedev.OpenNoFlush, 0
}

func (f *files) Read(r *fusedev.Request, _ uint64, offset uint64, size int, dst []byte) ([]byte, syscall.Errno) {
	f.reads.Add(1)
	if r.IsDoubtful {
		f.doubtful.Add(1)
	}
	switch r.Node {
	case idPanic:
		panic("in a read")
	case idSlow:
		if offset == 0 { // the end of the text is known
			if f.beginsSlow != nil {
				f.beginsSlow()
			}
			<-f.slow
		}
	}
	rest := f.content[min(offset, uint64(len(f.content))):]
	return append(dst, rest...), 0 // more than size on purpose: the transport cuts it
}

func (f *files) Rescue(_ *fusedev.Request, _, offset uint64, _ int, dst []byte) ([]byte, syscall.Errno) {
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

func (f *files) Panicked(any) { f.panics.Add(1) }

func mount(t *testing.T, content []byte) (string, *files) {
	t.Helper()
	return mountWith(t, content, time.Minute)
}

// mountWith mounts a file system whose stuck requests are answered after patience.
func mountWith(t *testing.T, content []byte, patience time.Duration) (string, *files) {
	t.Helper()
	dir, fs := prepare(t, content)
	fs.serve(t, patience)
	return dir, fs
}

// prepare mounts a file system that nobody serves yet.
func prepare(t *testing.T, content []byte) (string, *files) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("mounting needs root")
	}
	dir := t.TempDir()
	dev, err := fusedev.Mount(dir, fusedev.MountOptions{Source: "fusedev-test", Subtype: "fusedev-test"})
	if err != nil {
		t.Fatal(err)
	}
	fs := &files{content: content, polled: make(chan uint64, 10), slow: make(chan struct{})}
	if fs.session, err = fusedev.NewSession(dev, 4); err != nil {
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

func (f *files) serve(t *testing.T, patience time.Duration) {
	t.Helper()
	var err error
	if f.conn, err = fusedev.NewConn(f.session, f, tree{fuse.NewDefaultRawFileSystem(), f}); err != nil {
		t.Fatal(err)
	}
	f.conn.Patience = patience
	f.conn.Start()
}

// tree is the part of the file system that go-fuse calls.
type tree struct {
	fuse.RawFileSystem
	files *files
}

func (tree) Lookup(_ <-chan struct{}, _ *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	if name == "lookup-panic" {
		panic("in go-fuse")
	}
	id, ok := names[name]
	if !ok {
		return fuse.ENOENT
	}
	out.NodeId = id
	if id == idEmpty {
		out.SetEntryTimeout(time.Hour) // the reply to a LOOKUP has the size, too
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

// run runs a program that looks at the mount: never this process, which serves it.
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
	content := []byte(strings.Repeat("0123456789abcde\n", 20000)) // 320 kB: three requests at least
	dir, fs := mount(t, content)
	for _, blockSize := range []string{"1M", "64k", "4096", "1000"} {
		got, err := run(t, "dd", "status=none", "bs="+blockSize, "if="+filepath.Join(dir, "text"))
		if err != nil || got != string(content) {
			t.Errorf("read in blocks of %s: %d bytes, error %v; want %d bytes", blockSize, len(got), err, len(content))
		}
	}
	if got, err := run(t, "tail", "-c", "+319990", filepath.Join(dir, "text")); err != nil || got != string(content[319989:]) {
		t.Errorf("read of the end: %q, error %v", got, err)
	}
	for deadline := time.Now().Add(5 * time.Second); fs.released.Load() < 5; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d handles released, want 5", fs.released.Load())
		}
	}
}

func TestErrors(t *testing.T) {
	dir, fs := mount(t, []byte("text\n"))
	tests := []struct {
		name, file, want string
	}{
		{"a panic in a read", "panic", "Input/output error"},
		{"a panic in a look-up", "lookup-panic", "Cannot allocate memory"},
		{"an error of the handler", "forbidden", "Permission denied"},
		{"no such file", "nothing", "No such file"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := run(t, "dd", "if="+filepath.Join(dir, tt.file)) // unlike busybox's cat it reads once
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			if got, err := run(t, "cat", filepath.Join(dir, "text")); err != nil || got != "text\n" {
				t.Errorf("read after it: %q, %v", got, err)
			}
		})
	}
	if got := fs.panics.Load(); got != 2 {
		t.Errorf("%d panics told, want 2", got)
	}
}

// pollArgument makes this program wait up to 20 s for POLLPRI of the file that follows, and print whether it came.
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
		t.Fatalf("the poll ended without an event: %s", out)
	}
	fs.ready.Store(true)
	if err := fs.conn.NotifyPoll(handle); err != nil {
		t.Fatal(err)
	}
	if got := <-done; got != "true\n<nil>" {
		t.Errorf("poll said %q, want true", got)
	}
}

// TestSlowReads has threads stuck with one file: the others are served.
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
		if got, err := run(t, "cat", filepath.Join(dir, "text")); err != nil || got != "text\n" {
			t.Errorf("read beside slow ones: %q, %v", got, err)
		}
	}
	for deadline := time.Now().Add(10 * time.Second); fs.conn.Busy() < 3 && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	if got := fs.conn.Busy(); got != 3 {
		t.Errorf("%d requests are worked on, want the 3 slow ones", got)
	}
	if got, err := run(t, "cat", filepath.Join(dir, "text")); err != nil || got != "text\n" {
		t.Errorf("read beside slow ones: %q, %v", got, err)
	}
	close(fs.slow)
	slow.Wait()
}

// TestAllThreadsStuck blocks all threads in requests: Answers must be false until the requests are
// answered.
func TestAllThreadsStuck(t *testing.T) {
	dir, fs := mount(t, []byte("text\n"))
	// reports polls until Answers returns want.
	reports := func(want bool) {
		t.Helper()
		for deadline := time.Now().Add(10 * time.Second); fs.conn.Answers() != want; {
			if time.Now().After(deadline) {
				t.Fatalf("with %d busy threads the connection does not report %v", fs.conn.Busy(), want)
			}
			time.Sleep(time.Millisecond)
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
	if got, err := run(t, "cat", filepath.Join(dir, "text")); err != nil || got != "text\n" {
		t.Errorf("read beside slow ones: %q, %v", got, err)
	}
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
		t.Errorf("%d requests were counted, want 4 more than %d", got, answered)
	}
}

// TestStuckRead has a thread stuck for ever: its reader gets an answer all the same, and the thread's own, when it comes
// at last, goes nowhere.
func TestStuckRead(t *testing.T) {
	dir, fs := mountWith(t, []byte("text\n"), 500*time.Millisecond)
	for i := range 3 { // of four threads
		if got, err := run(t, "cat", filepath.Join(dir, "slow")); err != nil || !strings.HasPrefix(got, "rescued\n") {
			t.Errorf("read %d of a file that does not answer: %q, %v", i, got, err)
		}
	}
	if got, err := run(t, "cat", filepath.Join(dir, "text")); err != nil || got != "text\n" {
		t.Errorf("read beside stuck ones: %q, %v", got, err)
	}
	close(fs.slow)
	for deadline := time.Now().Add(10 * time.Second); fs.conn.Busy() > 0 && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	for range 20 {
		if got, err := run(t, "cat", filepath.Join(dir, "text")); err != nil || got != "text\n" {
			t.Errorf("read after all: %q, %v", got, err)
		}
	}
	if got := fs.rescued.Load(); got < 3 {
		t.Errorf("%d requests were rescued", got)
	}
}

// serveArgument makes this program serve the session whose files it is given, until it is killed. It tells of the slow read.
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
	fs := &files{content: []byte("first\n"), beginsSlow: func() { fmt.Println("slow") }}
	conn, err := fusedev.NewConn(session, fs, tree{fuse.NewDefaultRawFileSystem(), nil})
	if err != nil {
		return err
	}
	conn.Patience = time.Minute
	conn.Start()
	conn.Wait()
	return nil
}

// startServing starts a process that serves the session, and returns what it says.
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
	cmd.Env = append(os.Environ(), "LISTEN_FDS="+strconv.Itoa(len(passed)), "LISTEN_FDNAMES="+strings.Join(passed, ":"))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() }) // fails if it has ended, as it should
	return cmd, bufio.NewReader(out)
}

// TestNextProcess takes over from a process that is killed while it is at work with one request, and has just answered others: the one
// is done again, as if it were new, the others are not.
func TestNextProcess(t *testing.T) {
	dir, fs := prepare(t, []byte("next\n"))
	first, says := startServing(t, fs.session)
	slow := make(chan string)
	go func() {
		got, err := run(t, "dd", "status=none", "bs=4096", "count=1", "if="+filepath.Join(dir, "slow"))
		slow <- fmt.Sprint(got, err)
	}()
	if line, err := says.ReadString('\n'); err != nil {
		t.Fatalf("%q, %v", line, err)
	}
	// The file stays open, so that a read is the last that was answered.
	reader := exec.Command("sh", "-c", `exec 3<"$1"; dd status=none bs=4096 count=1 <&3; exec sleep 1000`, "sh", filepath.Join(dir, "text"))
	out, err := reader.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := reader.Start(); err != nil {
		t.Fatal(err)
	}
	defer reader.Wait() // it is killed
	defer reader.Process.Kill()
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "first\n" {
		t.Fatalf("read: %q, %v", line, err)
	}
	answered := 0
	for deadline := time.Now().Add(10 * time.Second); answered == 0 && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		answered = fs.session.LeaveRequests() // the process may be about to end the request
	}
	if err := first.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	first.Wait() // it was killed
	close(fs.slow)
	fs.serve(t, time.Minute)
	if got := <-slow; got != "next\n<nil>" {
		t.Errorf("who has waited got %q", got)
	}
	if got := fs.reads.Load(); answered < 1 || got != 1 || fs.doubtful.Load() != 0 {
		t.Errorf("%d reads were done, %d of them doubtful, after %d that were answered; want 1", got, fs.doubtful.Load(), answered)
	}
}

func TestMountErrors(t *testing.T) {
	_, err := fusedev.Mount(filepath.Join(t.TempDir(), "absent"), fusedev.MountOptions{Source: "x", Subtype: "x"})
	if !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "absent") {
		t.Errorf("got %v, want one that names the directory", err)
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

// TestKeepCachedSize tells the caller of stat(2) that a file is empty. The next reader, whose
// program uses sendfile(2), must not take it for empty.
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

// TestOldSession takes over the session of an earlier version, whose mounts have
// default_permissions.
func TestOldSession(t *testing.T) {
	_, fs := prepare(t, nil)
	if fs.session.KernelChecksAccess() {
		t.Error("the kernel checks modes on a mount without default_permissions")
	}
	for version, ok := range map[uint32]bool{1: true, 2: true, 3: false} {
		fs.session.SetVersion(version)
		session, err := fusedev.OpenSession(fs.session.Files())
		if (err == nil) != ok {
			t.Errorf("version %d: %v", version, err)
		}
		if err == nil && session.KernelChecksAccess() != (version == 1) {
			t.Errorf("version %d: the kernel checks modes: %v", version, session.KernelChecksAccess())
		}
	}
	fs.session.SetVersion(2)
	fs.serve(t, time.Minute)
}
