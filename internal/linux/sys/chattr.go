package sys

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// ChmodMask are the bits of Inode.Mode that Chmod sets: permissions, set-id and sticky.
const ChmodMask = 0o7777

// Chmod sets the mode bits of f, which must not be a symbolic link.
func (f File) Chmod(mode uint32) error {
	return os.NewSyscallError("chmod", unix.Fchmodat(unix.AT_FDCWD, f.selfPath(), mode, 0))
}

// Chown sets the owner and group of the file f, which may be an O_PATH descriptor. There is no
// variant with a name, since the file may have been replaced since it was checked. The kernel
// clears the set-id bits and capabilities of files other than directories, even if nothing changes.
func (f File) Chown(uid, gid uint32) error {
	err := unix.Fchownat(f.Fd(), "", int(uid), int(gid), unix.AT_EMPTY_PATH)
	return os.NewSyscallError("fchownat", err)
}

// IsReadOnly reports whether the file system, the mount, or the btrfs subvolume of the directory f
// is read-only.
func (f File) IsReadOnly() bool {
	return errors.Is(unix.Faccessat(unix.AT_FDCWD, f.selfPath(), unix.W_OK, 0), unix.EROFS)
}

// openContent opens the regular file or directory f, which may be an O_PATH descriptor, for ioctls.
// It opens nothing else: opening a device or a FIFO has side effects, or blocks.
func (f File) openContent() (File, error) {
	i, err := f.Statx()
	if err != nil {
		return File{}, err
	}
	if !i.IsRegular() && !i.IsDir() {
		return File{}, &os.PathError{Op: "open", Path: f.selfPath(), Err: errNoContent}
	}
	return openat(unix.AT_FDCWD, f.selfPath(), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOATIME)
}

var errNoContent = errors.New("neither a regular file nor a directory")

// Flags returns the inode flags of the regular file or directory f (ioctl_iflags(2)).
func (f File) Flags() (uint32, error) {
	file, err := f.openContent()
	if err != nil {
		return 0, err
	}
	defer file.Close()
	flags, err := unix.IoctlGetUint32(file.Fd(), unix.FS_IOC_GETFLAGS)
	return flags, os.NewSyscallError("ioctl FS_IOC_GETFLAGS", err)
}

// SetFlags sets the inode flags of the regular file or directory f.
func (f File) SetFlags(flags uint32) error {
	file, err := f.openContent()
	if err != nil {
		return err
	}
	defer file.Close()
	err = unix.IoctlSetPointerInt(file.Fd(), unix.FS_IOC_SETFLAGS, int(flags))
	return os.NewSyscallError("ioctl FS_IOC_SETFLAGS", err)
}

// WithoutProtection returns flags without FS_IMMUTABLE_FL and FS_APPEND_FL of linux/fs.h.
func WithoutProtection(flags uint32) uint32 { return flags &^ 0x30 }
