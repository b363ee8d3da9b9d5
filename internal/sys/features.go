package sys

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// ProbeOpenat2 fails where the kernel has no openat2(2) (Linux 5.6), or something, as a sandbox, forbids it.
func ProbeOpenat2() error {
	fd, err := unix.Openat2(unix.AT_FDCWD, "/", &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_MAGICLINKS})
	if err != nil {
		return os.NewSyscallError("openat2", err)
	}
	return unix.Close(fd)
}

// ProbeFuseClone fails where the device, /dev/fuse, cannot be cloned (Linux 4.2). The kernel is asked for a clone of a connection
// that does not exist: it refuses for another reason where it could.
func ProbeFuseClone(device string) error {
	f, err := OpenReadWrite(device)
	if err != nil {
		return err
	}
	defer f.Close()
	other, err := OpenReadWrite(device)
	if err != nil {
		return err
	}
	defer other.Close()
	if err = f.CloneFuse(other); errors.Is(err, unix.ENOTTY) || errors.Is(err, unix.ENOSYS) {
		return err
	}
	return nil
}
