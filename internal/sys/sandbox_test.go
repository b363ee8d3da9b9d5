package sys

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// confined are calls that a process makes after ConfineToReading. They run in a process of their own, since most end it.
var confined = []struct {
	name    string
	call    func() error
	allowed bool
}{
	{"read a file", func() error { _, err := os.ReadFile("/proc/self/status"); return err }, true},
	{"list a folder", func() error { _, err := os.ReadDir("/proc/self"); return err }, true},
	{"stand for a file", func() error { _, err := openat(unix.AT_FDCWD, "/proc/self/status", unix.O_PATH); return err }, true},
	{"resolve below a folder", func() error { return resolve("/proc", "self/status") }, true},
	{"start threads", func() error { return startThreads(20) }, true},
	{"take memory", func() error { _ = bytes.Repeat([]byte("x"), 300<<20); return nil }, true},
	{"collect garbage", func() error { debug.FreeOSMemory(); return nil }, true},
	{"ask who it is", func() error { _, _ = os.Getpid(), os.Getppid(); return nil }, true},
	{"name a thread", func() error { return unix.Prctl(unix.PR_SET_NAME, 0, 0, 0, 0) }, false},
	{"write a file", func() error { _, err := os.OpenFile("/dev/null", os.O_WRONLY, 0); return err }, false},
	{"read and write a file", func() error { _, err := os.OpenFile("/dev/null", os.O_RDWR, 0); return err }, false},
	{"make a file", func() error { return create("/tmp/palisade-made") }, false},
	{"cut a file off", func() error { _, err := os.OpenFile("/dev/null", os.O_TRUNC, 0); return err }, false},
	{"make a nameless file", func() error { _, err := openat(unix.AT_FDCWD, "/tmp", unix.O_TMPFILE|unix.O_RDWR); return err }, false},
	{"make a folder", func() error { return os.Mkdir("/tmp/palisade-made", 0o700) }, false},
	{"remove a file", func() error { return os.Remove("/tmp/palisade-made") }, false},
	{"rename a file", func() error { return os.Rename("/tmp/palisade-made", "/tmp/palisade-moved") }, false},
	{"change a mode", func() error { return os.Chmod("/tmp", 0o1777) }, false},
	{"change an owner", func() error { return os.Lchown("/tmp", -1, -1) }, false},
	{"mount", func() error { return unix.Mount("", "/nowhere", "tmpfs", 0, "") }, false},
	{"run a program", func() error { return unix.Exec("/proc/self/exe", nil, nil) }, false},
	{"fork", func() error { return raw(unix.SYS_CLONE, uintptr(unix.SIGCHLD)) }, false},
	{"fork by clone3", func() error { return isAbsent(unix.SYS_CLONE3) }, true},
	{"open with flags that a filter does not see", func() error { return isAbsent(unix.SYS_OPENAT2) }, true},
	{"unshare", func() error { return unix.Unshare(unix.CLONE_NEWUTS) }, false},
	{"enter a mount namespace", func() error { return setns("mnt", unix.CLONE_NEWNS) }, false},
	{"enter any namespace", func() error { return setns("mnt", 0) }, false},
	{"open a socket", func() error { _, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0); return err }, false},
	{"trace", func() error { return unix.PtraceAttach(os.Getppid()) }, false},
	{"kill", func() error { return unix.Kill(os.Getppid(), 0) }, false},
	{"write to another's memory", func() error { return raw(unix.SYS_PROCESS_VM_WRITEV, uintptr(os.Getppid())) }, false},
	{"take another's descriptor", func() error { return raw(unix.SYS_PIDFD_GETFD) }, false},
	{"load a program into the kernel", func() error { return raw(unix.SYS_BPF) }, false},
	{"make memory executable", func() error { return mapExecutable() }, false},
	{"raise a limit", func() error { return unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{}) }, false},
	{"use io_uring", func() error { return raw(unix.SYS_IO_URING_SETUP) }, false},
	{"open by a handle", func() error { return raw(unix.SYS_OPEN_BY_HANDLE_AT) }, false},
	{"ask for a pid elsewhere", func() error { return askForPID(nsGetPidInPidNS) }, true},
	{"ask for the init elsewhere", func() error { return askForPID(nsGetPidFromPidNS) }, true},
	{"write to a terminal", func() error { return raw(unix.SYS_IOCTL, 0, unix.TIOCSTI) }, false},
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

// askForPID makes an ioctl that only newer kernels know.
func askForPID(request uintptr) error {
	f, err := openat(unix.AT_FDCWD, "/proc/self/ns/pid", unix.O_RDONLY)
	if err != nil {
		return err
	}
	if err := raw(unix.SYS_IOCTL, uintptr(f.Fd()), request, uintptr(os.Getpid())); err != nil && err != unix.ENOTTY && err != unix.ESRCH {
		return err
	}
	return nil
}

func mapExecutable() error {
	_, err := unix.MmapPtr(-1, 0, unsafe.Pointer(nil), 4096, unix.PROT_READ|unix.PROT_EXEC, unix.MAP_ANON|unix.MAP_PRIVATE)
	return err
}

func raw(number uintptr, args ...uintptr) error {
	args = append(args, 0, 0, 0)
	if _, _, errno := unix.RawSyscall(number, args[0], args[1], args[2]); errno != 0 {
		return errno
	}
	return nil
}

func isAbsent(number uintptr) error {
	if err := raw(number); err != unix.ENOSYS {
		return fmt.Errorf("it answers %v", err)
	}
	return nil
}

const confinedCall = "PALISADE_CONFINED_CALL"

// TestMain makes one of the confined calls, where that is asked for.
func TestMain(m *testing.M) {
	name, ok := os.LookupEnv(confinedCall)
	if !ok {
		os.Exit(m.Run())
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		fmt.Println("no_new_privs:", err)
		os.Exit(3)
	}
	if err := ConfineToReading(); err != nil {
		fmt.Println(err)
		os.Exit(3)
	}
	for _, c := range confined {
		if c.name == name {
			fmt.Println("done:", c.call())
		}
	}
	os.Exit(0)
}

// TestConfineToReading makes each call in a process of a binary as it is installed: with cgo or the race detector, there are
// threads that Go's runtime did not start.
func TestConfineToReading(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "sys.test")
	build := exec.Command("go", "test", "-c", "-race=false", "-o", binary, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, c := range confined {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command(binary)
			cmd.Env = append(os.Environ(), confinedCall+"="+c.name)
			out, err := cmd.CombinedOutput()
			// The kernel kills who has blocked the signal that Go's runtime would report.
			trapped := strings.Contains(string(out), "SIGSYS") || err != nil && strings.Contains(err.Error(), "bad system call")
			if made := strings.Contains(string(out), "done:"); trapped == c.allowed || made != c.allowed {
				t.Errorf("%v, %s", err, out)
			}
			if c.allowed && string(out) != "done: <nil>\n" {
				t.Errorf("%v, %s", err, out)
			}
		})
	}
}
