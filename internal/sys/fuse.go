package sys

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// fuseDevClone is FUSE_DEV_IOC_CLONE of linux/fuse.h, _IOR(229, 0, uint32_t): a descriptor of /dev/fuse becomes another
// way to the connection of the one that is named (Linux 4.2).
const fuseDevClone = 0x8004e500

// CloneFuse makes f, a fresh descriptor of /dev/fuse, serve the connection of master.
func (f File) CloneFuse(master File) error {
	err := unix.IoctlSetPointerInt(f.Fd(), fuseDevClone, master.Fd())
	return os.NewSyscallError("ioctl FUSE_DEV_IOC_CLONE", err)
}

// ProbeFuseClone returns the error of CloneFuse on device, which is /dev/fuse, if the kernel has no
// FUSE_DEV_IOC_CLONE (Linux 4.2). The clone is one of an unmounted descriptor, and so always fails.
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
