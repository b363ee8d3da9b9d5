package sys

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Inode is a part of the result of statx(2).
type Inode struct {
	// Mode is the type and the permissions, as st_mode.
	Mode     uint32
	UID, GID uint32
	Links    uint32
	// Number is the inode number on FileSystem.
	Number uint64
	// Device is the device of a device node, FileSystem the device that holds the file.
	Device, FileSystem DeviceNumber
	// Size is in bytes.
	Size int64
	// MountID is the ID of the file's mount, as in /proc/<pid>/mountinfo; 0 before Linux 5.8.
	MountID int
	// Changed is the ctime.
	Changed Time
	// Immutable and AppendOnly are inode flags (ioctl_iflags(2)).
	Immutable, AppendOnly bool
}

// DeviceNumber is the number of a device.
type DeviceNumber struct{ Major, Minor uint32 }

// IsBlockDevice reports whether the file is a block device node.
func (i *Inode) IsBlockDevice() bool { return i.Mode&unix.S_IFMT == unix.S_IFBLK }

// IsDir reports whether the file is a directory.
func (i *Inode) IsDir() bool { return i.Mode&unix.S_IFMT == unix.S_IFDIR }

// IsRegular reports whether the file is a regular file.
func (i *Inode) IsRegular() bool { return i.Mode&unix.S_IFMT == unix.S_IFREG }

// IsSymlink reports whether the file is a symbolic link.
func (i *Inode) IsSymlink() bool { return i.Mode&unix.S_IFMT == unix.S_IFLNK }

// IsWhiteout reports whether the file, in a layer of an overlay, hides one of a lower layer. Its
// owner has no effect, and an overlay links all of its whiteouts to one inode.
func (i *Inode) IsWhiteout() bool {
	return i.Mode&unix.S_IFMT == unix.S_IFCHR && i.Device == DeviceNumber{}
}

// HasSetID reports whether the file is set-user-ID or set-group-ID. It is false for directories,
// for which the bits have another meaning.
func (i *Inode) HasSetID() bool { return !i.IsDir() && i.Mode&(unix.S_ISUID|unix.S_ISGID) != 0 }

// Time is a timestamp of a file, in seconds since 1970 and nanoseconds.
type Time struct {
	Sec  int64
	Nsec uint32
}

// Now returns the current time.
func Now() Time {
	now := time.Now()
	return Time{now.Unix(), uint32(now.Nanosecond())}
}

// Until returns the nanoseconds from t to o.
func (t Time) Until(o Time) int64 {
	return (o.Sec-t.Sec)*1_000_000_000 + int64(o.Nsec) - int64(t.Nsec)
}

// Stat returns the Inode of the file at path. It follows symbolic links.
func Stat(path string) (i Inode, err error) {
	err = statx(unix.AT_FDCWD, path, 0, &i)
	return i, pathError("stat", path, err)
}

// StatAt returns the Inode of the file name below the directory f. It does not follow a symbolic
// link, nor trigger an automount.
func (f File) StatAt(name string) (i Inode, err error) {
	err = statx(f.Fd(), name, noFollow, &i)
	return i, pathError("stat", name, err)
}

// Statx returns the Inode of f.
func (f File) Statx() (i Inode, err error) {
	err = f.StatxAt(NewName(""), &i)
	return i, err
}

// StatxAt sets *i to the Inode of the file name in the directory f, or of f if name is empty. It
// does not follow a symbolic link, nor trigger an automount.
func (f File) StatxAt(name Name, i *Inode) error {
	return os.NewSyscallError("statx", statx(f.Fd(), name.String(), noFollow, i))
}

// StatxCached returns the Inode of the target of a link in procfs from the kernel's cache: the file
// system, which may not respond, is not asked.
func StatxCached(link string) (i Inode, err error) {
	const flags = unix.AT_STATX_DONT_SYNC | unix.AT_NO_AUTOMOUNT
	err = statx(unix.AT_FDCWD, link, flags, &i)
	return i, os.NewSyscallError("statx", err)
}

// noFollow are the flags of a statx(2) of a descriptor, or of a name in its directory.
const noFollow = unix.AT_SYMLINK_NOFOLLOW | unix.AT_NO_AUTOMOUNT | unix.AT_EMPTY_PATH

func statx(dirfd int, name string, flags int, i *Inode) error {
	const mask = unix.STATX_TYPE | unix.STATX_MODE | unix.STATX_UID | unix.STATX_GID |
		unix.STATX_NLINK | unix.STATX_INO | unix.STATX_SIZE | unix.STATX_CTIME | unix.STATX_MNT_ID
	var st unix.Statx_t
	if err := unix.Statx(dirfd, name, flags, mask, &st); err != nil {
		return err
	}
	*i = Inode{
		Mode: uint32(st.Mode), UID: st.Uid, GID: st.Gid, Links: st.Nlink, Number: st.Ino,
		Device:     DeviceNumber{st.Rdev_major, st.Rdev_minor},
		FileSystem: DeviceNumber{st.Dev_major, st.Dev_minor},
		Size:       int64(st.Size), MountID: int(st.Mnt_id),
		Changed:    Time{st.Ctime.Sec, st.Ctime.Nsec},
		Immutable:  st.Attributes&unix.STATX_ATTR_IMMUTABLE != 0,
		AppendOnly: st.Attributes&unix.STATX_ATTR_APPEND != 0,
	}
	return nil
}

// Inode returns the inode number of f, which identifies a namespace.
func (f File) Inode() (uint64, error) {
	i, err := f.Statx()
	return i.Number, err
}

// Size returns the size in bytes.
func (f File) Size() (int64, error) {
	i, err := f.Statx()
	return i.Size, err
}
