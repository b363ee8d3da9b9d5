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

// ReadApart reads the beginning of files in a process of its own, and returns the error of the last one; io.EOF's place is
// taken by ENODATA for an empty file. A process that waits for a file system that does not answer cannot always be killed:
// when ctx ends, this one is left behind. It is a fork that executes no program: the Go runtime takes three milliseconds
// to start.
func ReadApart(ctx context.Context, paths ...string) error {
	names := make([]*byte, len(paths))
	for i, path := range paths {
		var err error
		if names[i], err = unix.BytePtrFromString(path); err != nil {
			return err
		}
	}
	buf := make([]byte, apartBuffer)
	pid, errno := forkReader(names, &buf[0])
	if errno != 0 {
		return os.NewSyscallError("clone", errno)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			// The process stays until it is waited for below, and its pid with it.
			err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
			if !errors.Is(err, unix.EINTR) {
				return
			}
		}
	}()
	select {
	case <-ended:
	case <-ctx.Done():
		unix.Kill(pid, unix.SIGKILL) // to no effect, if it cannot be killed
		go func() {
			<-ended
			reap(pid)
		}()
		return ctx.Err()
	}
	return reap(pid)
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
			return errors.New("the process that was to read was killed")
		}
	}
}

// maxInherited is up to which descriptor files are closed on kernels without close_range(2).
const maxInherited = 4096

// forkReader makes a process that reads the files and ends with the error number as its exit code. In it there is one thread
// alone, and no Go runtime: only raw system calls with memory that is there already are possible. It holds nothing of its
// parent's open: a runtime waits for whoever holds its hook's output.
//
//go:norace
//go:noinline
func forkReader(names []*byte, buf *byte) (pid int, errno syscall.Errno) {
	child, _, errno := unix.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if errno != 0 || child != 0 {
		return int(child), errno
	}
	if _, _, errno = unix.RawSyscall(unix.SYS_CLOSE_RANGE, 0, uintptr(^uint32(0)), 0); errno != 0 {
		for fd := range uintptr(maxInherited) {
			unix.RawSyscall(unix.SYS_CLOSE, fd, 0, 0)
		}
	}
	for _, name := range names {
		var fd, n uintptr
		fd, _, errno = unix.RawSyscall6(unix.SYS_OPENAT, ^uintptr(-unix.AT_FDCWD-1), uintptr(unsafe.Pointer(name)), unix.O_RDONLY, 0, 0, 0)
		if errno != 0 {
			continue
		}
		n, _, errno = unix.RawSyscall(unix.SYS_READ, fd, uintptr(unsafe.Pointer(buf)), apartBuffer)
		if errno == 0 && n == 0 {
			errno = unix.ENODATA
		}
	}
	for {
		unix.RawSyscall(unix.SYS_EXIT_GROUP, uintptr(errno), 0, 0)
	}
}
