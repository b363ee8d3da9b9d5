package sys

import (
	"os"

	"golang.org/x/sys/unix"
)

// NameProcess sets the name of this process in ps(1) and top(1), the comm of its first thread.
func NameProcess(name string) error { return os.WriteFile("/proc/self/comm", []byte(name), 0) }

// DropStandardStreams replaces standard input, output and error with /dev/null.
func DropStandardStreams() error {
	null, err := OpenReadWrite(os.DevNull)
	if err != nil {
		return err
	}
	defer null.Close()
	for fd := range 3 {
		if err := unix.Dup3(null.Fd(), fd, 0); err != nil {
			return os.NewSyscallError("dup3", err)
		}
	}
	return nil
}

// Pipe returns the two ends of a pipe: what is written to w is read from r.
func Pipe() (r, w File, err error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		return File{}, File{}, os.NewSyscallError("pipe2", err)
	}
	return File{fds[0] + 1}, File{fds[1] + 1}, nil
}

// OpenPidfd opens a pidfd of the process (Linux 5.3). It is readable once the process has ended.
func OpenPidfd(pid int) (File, error) {
	f, err := openFile(func() (int, error) { return unix.PidfdOpen(pid, 0) })
	return f, os.NewSyscallError("pidfd_open", err)
}
