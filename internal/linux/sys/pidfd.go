package sys

import (
	"os"

	"golang.org/x/sys/unix"
)

// OpenPidfd opens a pidfd of the process (Linux 5.3). It is readable once the process has ended.
func OpenPidfd(pid int) (File, error) {
	f, err := openFile(func() (int, error) { return unix.PidfdOpen(pid, 0) })
	return f, os.NewSyscallError("pidfd_open", err)
}
