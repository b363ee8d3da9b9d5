package sys

import (
	"os"

	"golang.org/x/sys/unix"
)

// fuseDevClone is FUSE_DEV_IOC_CLONE of linux/fuse.h, _IOR(229, 0, uint32_t): a descriptor of /dev/fuse becomes another
// way to the connection of the one that is named (Linux 4.2).
const fuseDevClone = 0x8004e500

// OpenReadWrite opens path for reading and writing.
func OpenReadWrite(path string) (File, error) { return openat(unix.AT_FDCWD, path, unix.O_RDWR) }

// OpenReadWriteAt opens name below the directory f for reading and writing.
func (f File) OpenReadWriteAt(name string) (File, error) { return openat(f.Fd(), name, unix.O_RDWR) }

// CloneFuse makes f, a fresh descriptor of /dev/fuse, serve the connection of master.
func (f File) CloneFuse(master File) error {
	err := unix.IoctlSetPointerInt(f.Fd(), fuseDevClone, master.Fd())
	return os.NewSyscallError("ioctl FUSE_DEV_IOC_CLONE", err)
}

// Read reads once, as read(2).
func (f File) Read(buf []byte) (int, error) {
	for {
		n, err := unix.Read(f.Fd(), buf)
		if err != unix.EINTR {
			return max(n, 0), os.NewSyscallError("read", err)
		}
	}
}

// Write writes once, as write(2).
func (f File) Write(buf []byte) (int, error) {
	for {
		n, err := unix.Write(f.Fd(), buf)
		if err != unix.EINTR {
			return max(n, 0), os.NewSyscallError("write", err)
		}
	}
}
