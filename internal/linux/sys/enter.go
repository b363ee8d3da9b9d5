package sys

import (
	"os"

	"golang.org/x/sys/unix"
)

// ExecInMountNamespace executes this program again, in this process, in the mount namespace ns and
// at its root. The new program gets the environment env, and the files of keep under the same
// numbers. It returns only with an error.
func ExecInMountNamespace(ns File, args, env []string, keep ...File) error {
	return onOwnThread(func() error {
		// setns(2) fails for a thread that shares its root and working directory.
		if err := unshareFS(); err != nil {
			return err
		}
		if err := unix.Setns(ns.Fd(), unix.CLONE_NEWNS); err != nil {
			return os.NewSyscallError("setns mnt", err)
		}
		for _, f := range keep {
			if _, err := unix.FcntlInt(uintptr(f.Fd()), unix.F_SETFD, 0); err != nil {
				return os.NewSyscallError("fcntl F_SETFD", err)
			}
		}
		return os.NewSyscallError("execve", unix.Exec("/proc/self/exe", args, env))
	})
}

// KeptFile returns the file that ExecInMountNamespace has kept under the number fd. Later programs
// do not get it.
func KeptFile(fd int) (File, error) {
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, unix.FD_CLOEXEC); err != nil {
		return File{}, os.NewSyscallError("fcntl F_SETFD", err)
	}
	return File{fd + 1}, nil
}
