package sys

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"palisade/internal/linux/testns"
)

// confinedCall is a call that a confined process makes. Most calls are fatal, so each runs in a
// process of its own.
type confinedCall struct {
	name    string
	call    func() error
	allowed bool
}

// commonCalls are calls after either confinement.
var commonCalls = []confinedCall{
	{"start threads", func() error { return startThreads(20) }, true},
	{"allocate memory", func() error { _ = bytes.Repeat([]byte("x"), 300<<20); return nil }, true},
	{"return memory", func() error { debug.FreeOSMemory(); return nil }, true},
	{"make a file", func() error { return create("/tmp/palisade-made") }, false},
	{"mount", func() error { return unix.Mount("", "/nowhere", "tmpfs", 0, "") }, false},
	{"run a program", func() error { return unix.Exec("/proc/self/exe", nil, nil) }, false},
	{"fork", func() error { return raw(unix.SYS_CLONE, uintptr(unix.SIGCHLD)) }, false},
	{"start a thread in a new namespace", func() error {
		return raw(unix.SYS_CLONE, unix.CLONE_THREAD|unix.CLONE_NEWUTS)
	}, false},
	{"openat2", func() error { return wantENOSYS(unix.SYS_OPENAT2) }, true},
	{"trace", func() error { return unix.PtraceAttach(os.Getppid()) }, false},
	{"kill", func() error { return unix.Kill(os.Getppid(), 0) }, false},
	{"kill a thread", func() error {
		return raw(unix.SYS_TGKILL, uintptr(os.Getppid()), uintptr(os.Getppid()))
	}, false},
	{"set the owner of a descriptor", func() error {
		return raw(unix.SYS_FCNTL, 0, unix.F_SETOWN, uintptr(os.Getppid()))
	}, false},
	{"signal own threads", func() error {
		return raw(unix.SYS_TGKILL, uintptr(os.Getpid()), uintptr(unix.Gettid()))
	}, true},
	{"get a descriptor's flags", func() error {
		return raw(unix.SYS_FCNTL, 0, unix.F_GETFL)
	}, true},
	{"make memory executable", mapExecutable, false},
	{"write to a terminal", func() error { return raw(unix.SYS_IOCTL, 0, unix.TIOCSTI) }, false},
}

// readingCalls are other calls after ConfineToReading.
var readingCalls = []confinedCall{
	{"read a file", func() error { _, err := os.ReadFile("/proc/self/status"); return err }, true},
	{"list a directory", func() error { _, err := os.ReadDir("/proc/self"); return err }, true},
	{"open a path", func() error {
		_, err := openat(unix.AT_FDCWD, "/proc/self/status", unix.O_PATH)
		return err
	}, true},
	{"resolve a path below a directory", func() error {
		return resolve("/proc", "self/status")
	}, true},
	{"get pids", func() error { _, _ = os.Getpid(), os.Getppid(); return nil }, true},
	{"move the thread to a CPU", func() error { return MoveTo(0) }, true},
	{"bind another process to CPUs", func() error {
		return unix.SchedSetaffinity(os.Getppid(), new(unix.CPUSet))
	}, false},
	{"name a thread", func() error { return unix.Prctl(unix.PR_SET_NAME, 0, 0, 0, 0) }, false},
	{"write a file", func() error {
		_, err := os.OpenFile("/dev/null", os.O_WRONLY, 0)
		return err
	}, false},
	{"read and write a file", func() error {
		_, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
		return err
	}, false},
	{"truncate a file", func() error {
		_, err := os.OpenFile("/dev/null", os.O_TRUNC, 0)
		return err
	}, false},
	{"make an unnamed file", func() error {
		_, err := openat(unix.AT_FDCWD, "/tmp", unix.O_TMPFILE|unix.O_RDWR)
		return err
	}, false},
	{"make a directory", func() error { return os.Mkdir("/tmp/palisade-made", 0o700) }, false},
	{"remove a file", func() error { return os.Remove("/tmp/palisade-made") }, false},
	{"rename a file", func() error {
		return os.Rename("/tmp/palisade-made", "/tmp/palisade-moved")
	}, false},
	{"change a mode", func() error { return os.Chmod("/tmp", 0o1777) }, false},
	{"change an owner", func() error { return os.Lchown("/tmp", -1, -1) }, false},
	{"clone3", func() error { return wantENOSYS(unix.SYS_CLONE3) }, true},
	{"unshare", func() error { return unix.Unshare(unix.CLONE_NEWUTS) }, false},
	{"enter a mount namespace", func() error { return setns("mnt", unix.CLONE_NEWNS) }, false},
	{"enter any namespace", func() error { return setns("mnt", 0) }, false},
	{"open a socket", func() error {
		_, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
		return err
	}, false},
	{"write to another process's memory", func() error {
		return raw(unix.SYS_PROCESS_VM_WRITEV, uintptr(os.Getppid()))
	}, false},
	{"take another process's descriptor", func() error { return raw(unix.SYS_PIDFD_GETFD) }, false},
	{"load a BPF program", func() error { return raw(unix.SYS_BPF) }, false},
	{"raise a limit", func() error {
		return unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{})
	}, false},
	{"use io_uring", func() error { return raw(unix.SYS_IO_URING_SETUP) }, false},
	{"open by file handle", func() error { return raw(unix.SYS_OPEN_BY_HANDLE_AT) }, false},
	{"translate a pid", func() error { return translatePID(nsGetPidInPidNS) }, true},
	{"open the parent namespace", openParent, true},
	{"get a namespace's owner", getOwner, true},
	{"get a namespace's init", func() error { return translatePID(nsGetPidFromPidNS) }, true},
}

func create(path string) error {
	defer unix.Unlink(path)
	_, err := os.OpenFile(path, os.O_CREATE, 0o600)
	return err
}

func resolve(root, path string) error {
	dir, err := OpenDir(root)
	if err != nil {
		return err
	}
	f, err := dir.OpenDirInRoot(path)
	if err == nil || errors.Is(err, unix.ENOTDIR) {
		f.Close()
		return nil
	}
	return err
}

func startThreads(n int) error {
	done := make(chan error)
	for range n {
		go func() { done <- unix.Nanosleep(&unix.Timespec{Nsec: 1e6}, nil) }()
	}
	for range n {
		if err := <-done; err != nil {
			return err
		}
	}
	return nil
}

func setns(name string, kind int) error {
	f, err := openat(unix.AT_FDCWD, "/proc/self/ns/"+name, unix.O_RDONLY)
	if err != nil {
		return err
	}
	return unix.Setns(f.Fd(), kind)
}

// translatePID accepts the errors of kernels before Linux 6.11.
func translatePID(request uintptr) error {
	f, err := openat(unix.AT_FDCWD, "/proc/self/ns/pid", unix.O_RDONLY)
	if err != nil {
		return err
	}
	err = raw(unix.SYS_IOCTL, uintptr(f.Fd()), request, uintptr(os.Getpid()))
	if err == unix.ENOTTY || err == unix.ESRCH {
		return nil
	}
	return err
}

// openParent opens the parent of the own pid namespace, which always fails.
func openParent() error {
	f, err := openat(unix.AT_FDCWD, "/proc/self/ns/pid", unix.O_RDONLY)
	if err != nil {
		return err
	}
	if _, err := f.ParentNamespace(); !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.ENOTTY) {
		return fmt.Errorf("open parent namespace: %w", err)
	}
	return nil
}

// getOwner gets the owner of the user namespace of the own pid namespace.
func getOwner() error {
	f, err := openat(unix.AT_FDCWD, "/proc/self/ns/pid", unix.O_RDONLY)
	if err != nil {
		return err
	}
	ns, err := f.UserNamespace()
	if err == nil {
		_, err = unix.IoctlGetUint32(ns.Fd(), unix.NS_GET_OWNER_UID)
	}
	if errors.Is(err, unix.ENOTTY) {
		return nil
	}
	return err
}

func mapExecutable() error {
	_, err := unix.MmapPtr(-1, 0, unsafe.Pointer(nil), 4096,
		unix.PROT_READ|unix.PROT_EXEC, unix.MAP_ANON|unix.MAP_PRIVATE)
	return err
}

func raw(number uintptr, args ...uintptr) error {
	args = append(args, 0, 0, 0)
	if _, _, errno := unix.RawSyscall(number, args[0], args[1], args[2]); errno != 0 {
		return errno
	}
	return nil
}

func wantENOSYS(number uintptr) error {
	if err := raw(number); err != unix.ENOSYS {
		return fmt.Errorf("got %v, want %v", err, unix.ENOSYS)
	}
	return nil
}

// servingCalls are other calls after ConfineToServing.
// answeringCalls are calls of a process that writes answers to the memory of callers.
var answeringCalls = []confinedCall{
	{"open a file for writing", func() error {
		_, err := openat(unix.AT_FDCWD, os.DevNull, unix.O_WRONLY)
		return err
	}, true},
	{"accept", serveOne, true},
	{"read a file", func() error { _, err := os.ReadFile("/proc/self/status"); return err }, false},
	{"open a file for reading and writing", func() error {
		_, err := OpenReadWrite(os.DevNull)
		return err
	}, false},
	{"list a directory", func() error { _, err := os.ReadDir("/proc/self"); return err }, false},
	{"open a socket", func() error {
		_, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
		return err
	}, false},
	{"connect", func() error { return raw(unix.SYS_CONNECT) }, false},
	{"send a file", func() error { return raw(unix.SYS_SENDMSG) }, false},
	{"enter a namespace", func() error { return raw(unix.SYS_SETNS, 0, unix.CLONE_NEWCGROUP) }, false},
	{"write to another process", func() error { return raw(unix.SYS_PROCESS_VM_WRITEV) }, false},
	{"rename", func() error { return raw(unix.SYS_RENAMEAT2) }, false},
	{"an ioctl of terminals", func() error { return raw(unix.SYS_IOCTL, 0, unix.TIOCSTI) }, false},
}

var servingCalls = []confinedCall{
	{"serve", serveOne, true},
	{"read a file", func() error { _, err := os.ReadFile("/proc/self/status"); return err }, false},
	{"list a directory", func() error { _, err := os.ReadDir("/proc/self"); return err }, false},
	{"open a socket", func() error {
		_, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
		return err
	}, false},
	{"connect", func() error { return raw(unix.SYS_CONNECT) }, false},
	{"bind", func() error { return raw(unix.SYS_BIND) }, false},
	{"send a file", func() error { return raw(unix.SYS_SENDMSG) }, false},
	{"receive a file", func() error { return raw(unix.SYS_RECVMSG) }, false},
	{"enter a namespace", func() error {
		return raw(unix.SYS_SETNS, 0, unix.CLONE_NEWCGROUP)
	}, false},
}

// served is a listener with one client, opened before the confinement.
var served struct {
	net.Listener
	client net.Conn
}

func openServed() (err error) {
	if served.Listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return err
	}
	served.client, err = net.Dial("tcp", served.Addr().String())
	return err
}

func serveOne() error {
	c, err := served.Accept()
	if err != nil {
		return err
	}
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		return err
	}
	if _, err := c.Write([]byte("answer")); err != nil {
		return err
	}
	if err := errors.Join(c.(*net.TCPConn).CloseWrite(), c.Close()); err != nil {
		return err
	}
	text, err := io.ReadAll(served.client)
	if string(text) != "answer" {
		return fmt.Errorf("client got %q, %w", text, err)
	}
	return served.Close()
}

// Environment variables of a confined process.
const (
	callVariable    = "PALISADE_CONFINED_CALL"
	confineVariable = "PALISADE_CONFINED_TO"
)

var confinements = map[string]struct {
	confine func() error
	calls   []confinedCall
}{
	"reading":   {ConfineToReading, slices.Concat(commonCalls, readingCalls)},
	"serving":   {ConfineToServing, slices.Concat(commonCalls, servingCalls)},
	"answering": {ConfineToAnswering, slices.Concat(commonCalls, answeringCalls)},
}

// TestMain makes the call that callVariable names, and otherwise runs the tests in namespaces.
func TestMain(m *testing.M) {
	if path, ok := os.LookupEnv(connectVariable); ok {
		connectAsPeer(path)
	}
	name, ok := os.LookupEnv(callVariable)
	if !ok {
		testns.Main(m)
	}
	confinement := confinements[os.Getenv(confineVariable)]
	if err := openServed(); err != nil {
		fmt.Println("listen:", err)
		os.Exit(3)
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		fmt.Println("no_new_privs:", err)
		os.Exit(3)
	}
	if err := confinement.confine(); err != nil {
		fmt.Println(err)
		os.Exit(3)
	}
	for _, c := range confinement.calls {
		if c.name == name {
			fmt.Println("done:", c.call())
		}
	}
	os.Exit(0)
}

func TestConfineToReading(t *testing.T) { testConfinement(t, "reading") }

func TestConfineToAnswering(t *testing.T) { testConfinement(t, "answering") }

func TestConfineToServing(t *testing.T) { testConfinement(t, "serving") }

// pureBinary returns the path of this test binary, built as programs are installed: with cgo or the
// race detector there are threads that the Go runtime did not start.
func pureBinary(t *testing.T) string {
	t.Helper()
	if info, ok := debug.ReadBuildInfo(); ok && testing.CoverMode() == "" &&
		slices.Contains(info.Settings, debug.BuildSetting{Key: "CGO_ENABLED", Value: "0"}) {
		return "/proc/self/exe"
	}
	binary := filepath.Join(t.TempDir(), "sys.test")
	build := exec.Command("go", "test", "-c", "-race=false", "-o", binary, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return binary
}

func testConfinement(t *testing.T, to string) {
	t.Helper()
	binary := pureBinary(t)
	for _, c := range confinements[to].calls {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command(binary)
			cmd.Env = append(os.Environ(), callVariable+"="+c.name, confineVariable+"="+to)
			out, err := cmd.CombinedOutput()
			// The Go runtime reports SIGSYS; while it is blocked, the kernel kills the process.
			trapped := strings.Contains(string(out), "SIGSYS") ||
				err != nil && strings.Contains(err.Error(), "bad system call")
			made := strings.Contains(string(out), "done:")
			if trapped == c.allowed || made != c.allowed {
				t.Errorf("%v, %s", err, out)
			}
			if c.allowed && string(out) != "done: <nil>\n" {
				t.Errorf("%v, %s", err, out)
			}
		})
	}
}
