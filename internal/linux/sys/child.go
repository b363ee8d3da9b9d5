package sys

import (
	"context"
	"errors"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// childBuffer is the number of bytes that ReadInChild reads of each file.
const childBuffer = 4096

// ReadInChild reads the beginning of each file in a child process, and returns the error of the
// last file, ENODATA if it is empty. A process that waits for a file system that does not answer
// cannot always be killed: when ctx ends, the child is abandoned. The child is a fork without an
// exec, since the Go runtime takes three milliseconds to start.
func ReadInChild(ctx context.Context, paths ...string) error {
	c, err := startReader(paths, make([]byte, headerSize+childBuffer), -1)
	if err != nil {
		return err
	}
	return c.wait(ctx)
}

// child is a process that forkReader started. Its pid is not reused before wait.
type child struct {
	pid   int
	ended <-chan struct{}
}

// startReader starts forkReader for the paths.
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

// wait returns the child's error. When ctx ends, it kills the child and reaps it in the background.
func (c child) wait(ctx context.Context) error {
	select {
	case <-c.ended:
	case <-ctx.Done():
		unix.Kill(c.pid, unix.SIGKILL)
		go func() {
			<-c.ended
			reap(c.pid)
		}()
		return ctx.Err()
	}
	return reap(c.pid)
}

// reap waits for a child that has ended, and returns its exit code as an errno.
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

var errReaderKilled = errors.New("reader process killed")

const (
	// headerSize is the size of the header that forkReader writes before each text: errno and
	// length of the text, both uint32.
	headerSize = 8
	// maxInherited bounds the descriptors that are closed without close_range(2) (Linux 5.9).
	maxInherited = 4096
)

// forkReader starts a child that reads the files one after the other into buf, behind a header.
// It writes header and text of each file to the descriptor out, unless out is negative, and exits
// with the errno of the last file.
//
// The child has one thread and no Go runtime: it makes raw system calls with memory allocated
// before the fork. It closes all inherited descriptors, because a container runtime waits until
// all copies of its hook's output are closed.
//
//go:norace
//go:noinline
func forkReader(names []*byte, buf []byte, out int) (pid int, errno syscall.Errno) {
	child, _, errno := unix.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if errno != 0 || child != 0 {
		return int(child), errno
	}
	first := uintptr(0) // the first descriptor to close
	if out >= 0 {
		first = 1
		if out > 0 {
			unix.RawSyscall(unix.SYS_DUP3, uintptr(out), 0, 0)
		}
	}
	_, _, errno = unix.RawSyscall(unix.SYS_CLOSE_RANGE, first, uintptr(^uint32(0)), 0)
	if errno != 0 {
		for fd := first; fd < maxInherited; fd++ {
			unix.RawSyscall(unix.SYS_CLOSE, fd, 0, 0)
		}
	}
	header := (*[2]uint32)(unsafe.Pointer(&buf[0]))
	text, size := uintptr(unsafe.Pointer(&buf[headerSize])), uintptr(len(buf)-headerSize)
	for _, name := range names {
		var fd, n uintptr
		fd, _, errno = unix.RawSyscall6(unix.SYS_OPENAT, ^uintptr(-unix.AT_FDCWD-1),
			uintptr(unsafe.Pointer(name)), unix.O_RDONLY, 0, 0, 0)
		if errno == 0 {
			n, _, errno = unix.RawSyscall(unix.SYS_READ, fd, text, size)
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
		for at, end := uintptr(0), headerSize+n; at < end; {
			wrote, _, failed := unix.RawSyscall(unix.SYS_WRITE, 0, text-headerSize+at, end-at)
			if failed != 0 {
				break // the parent has closed the pipe: the next write fails as well
			}
			at += wrote
		}
	}
	for {
		unix.RawSyscall(unix.SYS_EXIT_GROUP, uintptr(errno), 0, 0)
	}
}
