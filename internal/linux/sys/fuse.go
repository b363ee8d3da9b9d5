package sys

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// fuseDevClone is FUSE_DEV_IOC_CLONE of linux/fuse.h, _IOR(229, 0, uint32_t) (Linux 4.2).
const fuseDevClone = 0x8004e500

// CloneFuse connects f, a fresh descriptor of /dev/fuse, to the FUSE connection of master.
func (f File) CloneFuse(master File) error {
	err := unix.IoctlSetPointerInt(f.Fd(), fuseDevClone, master.Fd())
	return os.NewSyscallError("ioctl FUSE_DEV_IOC_CLONE", err)
}

// ProbeFuseClone returns an error if device, which is /dev/fuse, cannot be opened, or its driver
// has no FUSE_DEV_IOC_CLONE. It tries to clone a descriptor without a connection: a driver that has
// the ioctl fails with another error.
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
