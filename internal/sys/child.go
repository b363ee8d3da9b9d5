package sys

import (
	"context"
	"errors"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// apartBuffer is how much is read of a file.
const apartBuffer = 4096

// ReadInChild reads the beginning of files in a process of its own, and returns the error of the last one; io.EOF's place is
// taken by ENODATA for an empty file. A process that waits for a file system that does not answer cannot always be killed:
// when ctx ends, this one is left behind. It is a fork that executes no program: the Go runtime takes three milliseconds
// to start.
func ReadInChild(ctx context.Context, paths ...string) error {
	c, err := startReader(paths, make([]byte, apartHeader+apartBuffer), -1)
	if err != nil {
		return err
	}
	return c.wait(ctx)
}

// child is a process that reads. It stays, and its pid with it, until it is waited for.
type child struct {
	pid   int
	ended <-chan struct{}
}

// startReader starts a process that reads the files with the memory of buf, see forkReader.
func startReader(paths []string, buf []byte, out int) (child, error) {
	names := make([]*byte, len(paths))
	for i, path := range paths {
		var err error
		if names[i], err = unix.BytePtrFromString(path); err != nil {
			return child{}, err
		}
	}
	pid, errno := forkReader(names, buf, out)
	if errno != 0 {
		return child{}, os.NewSyscallError("clone", errno)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
			if !errors.Is(err, unix.EINTR) {
				return
			}
		}
	}()
	return child{pid, ended}, nil
}

// wait waits for the process and returns its error. When ctx ends it is left behind.
func (c child) wait(ctx context.Context) error {
	select {
	case <-c.ended:
	case <-ctx.Done():
		unix.Kill(c.pid, unix.SIGKILL) // to no effect, if it cannot be killed
		go func() {
			<-c.ended
			reap(c.pid)
		}()
		return ctx.Err()
	}
	return reap(c.pid)
}

// reap waits for a child that has ended, and returns the error of which its exit code is the number.
func reap(pid int) error {
	var status unix.WaitStatus
	for {
		_, err := unix.Wait4(pid, &status, 0, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return os.NewSyscallError("wait4", err)
		case status.ExitStatus() == 0:
			return nil
		case status.Exited():
			return syscall.Errno(status.ExitStatus())
		default:
			return errReaderKilled
		}
	}
}

var errReaderKilled = errors.New("the process that was to read was killed")

// maxInherited is up to which descriptor files are closed on kernels without close_range(2).
const maxInherited = 4096

// apartHeader is what stands before each text that forkReader's process writes: the number of the error and the length of the
// text, four bytes each.
const apartHeader = 8

// forkReader makes a process that reads the files, one after the other, as far as they have room in buf behind a header. It
// writes header and text of each to the descriptor out, unless that is negative, and ends with the last error number as its
// exit code. In it there is one thread alone, and no Go runtime: only raw system calls with memory that is there already are
// possible. It holds nothing else of its parent's open: a runtime waits for whoever holds its hook's output.
//
//go:norace
//go:noinline
func forkReader(names []*byte, buf []byte, out int) (pid int, errno syscall.Errno) {
	child, _, errno := unix.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if errno != 0 || child != 0 {
		return int(child), errno
	}
	first := uintptr(0) // of the descriptors to be closed
	if out >= 0 {
		first = 1
		if out > 0 {
			unix.RawSyscall(unix.SYS_DUP3, uintptr(out), 0, 0)
		}
	}
	if _, _, errno = unix.RawSyscall(unix.SYS_CLOSE_RANGE, first, uintptr(^uint32(0)), 0); errno != 0 {
		for fd := first; fd < maxInherited; fd++ {
			unix.RawSyscall(unix.SYS_CLOSE, fd, 0, 0)
		}
	}
	header := (*[2]uint32)(unsafe.Pointer(&buf[0]))
	text, room := uintptr(unsafe.Pointer(&buf[apartHeader])), uintptr(len(buf)-apartHeader)
	for _, name := range names {
		var fd, n uintptr
		fd, _, errno = unix.RawSyscall6(unix.SYS_OPENAT, ^uintptr(-unix.AT_FDCWD-1), uintptr(unsafe.Pointer(name)), unix.O_RDONLY, 0, 0, 0)
		if errno == 0 {
			n, _, errno = unix.RawSyscall(unix.SYS_READ, fd, text, room)
			unix.RawSyscall(unix.SYS_CLOSE, fd, 0, 0)
			if errno != 0 {
				n = 0
			} else if n == 0 {
				errno = unix.ENODATA
			}
		}
		if out < 0 {
			continue
		}
		header[0], header[1] = uint32(errno), uint32(n)
		for at, end := uintptr(0), apartHeader+n; at < end; {
			wrote, _, failed := unix.RawSyscall(unix.SYS_WRITE, 0, text-apartHeader+at, end-at)
			if failed != 0 {
				break // nobody reads: the next write fails as well
			}
			at += wrote
		}
	}
	for {
		unix.RawSyscall(unix.SYS_EXIT_GROUP, uintptr(errno), 0, 0)
	}
}
