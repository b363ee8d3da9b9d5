package sys

import (
	"os"

	"golang.org/x/sys/unix"
)

// FileInfo is a part of the result of stat(2).
type FileInfo struct {
	// Mode is st_mode: the type and the permissions.
	Mode uint32
	// Inode is the inode number on FileSystem.
	Inode uint64
	// Device is the device of a device node, FileSystem the device that holds the file.
	Device, FileSystem DeviceNumber
	// Size is in bytes.
	Size int64
}

// DeviceNumber is the number of a device.
type DeviceNumber struct{ Major, Minor uint32 }

// IsBlockDevice reports whether the file is a block device node.
func (i FileInfo) IsBlockDevice() bool { return i.Mode&unix.S_IFMT == unix.S_IFBLK }

// IsDir reports whether the file is a directory.
func (i FileInfo) IsDir() bool { return i.Mode&unix.S_IFMT == unix.S_IFDIR }

// IsRegular reports whether the file is a regular file.
func (i FileInfo) IsRegular() bool { return i.Mode&unix.S_IFMT == unix.S_IFREG }

// IsSymlink reports whether the file is a symbolic link.
func (i FileInfo) IsSymlink() bool { return i.Mode&unix.S_IFMT == unix.S_IFLNK }

// StatAt returns the FileInfo of the file name below the directory f, or of f if name is empty. It
// does not follow a symbolic link, nor trigger an automount.
func (f File) StatAt(name string) (FileInfo, error) {
	return statAt(f.Fd(), name, noFollow)
}

// noFollow are the flags of a stat of a descriptor, or of a name in its directory.
const noFollow = unix.AT_SYMLINK_NOFOLLOW | unix.AT_NO_AUTOMOUNT | unix.AT_EMPTY_PATH

// Stat returns the FileInfo of the file at path. It follows symbolic links.
func Stat(path string) (FileInfo, error) { return statAt(unix.AT_FDCWD, path, 0) }

func statAt(dirfd int, name string, flags int) (FileInfo, error) {
	var st unix.Stat_t
	if err := unix.Fstatat(dirfd, name, &st, flags); err != nil {
		return FileInfo{}, &os.PathError{Op: "stat", Path: name, Err: err}
	}
	return FileInfo{
		Mode: st.Mode, Inode: st.Ino, Size: st.Size,
		Device:     DeviceNumber{unix.Major(st.Rdev), unix.Minor(st.Rdev)},
		FileSystem: DeviceNumber{unix.Major(st.Dev), unix.Minor(st.Dev)},
	}, nil
}

// Inode returns the inode number of f, which identifies a namespace.
func (f File) Inode() (uint64, error) {
	st, err := f.fstat()
	return st.Ino, err
}

// Size returns the size in bytes.
func (f File) Size() (int64, error) {
	st, err := f.fstat()
	return st.Size, err
}

func (f File) fstat() (st unix.Stat_t, err error) {
	err = unix.Fstat(f.Fd(), &st)
	return st, os.NewSyscallError("fstat", err)
}
