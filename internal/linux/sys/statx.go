package sys

import (
	"errors"
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
	Number     uint64
	FileSystem DeviceNumber
	// Changed is the ctime.
	Changed Time
	// Immutable and AppendOnly are inode flags (ioctl_iflags(2)).
	Immutable, AppendOnly bool
}

// IsDir reports whether the file is a directory.
func (i *Inode) IsDir() bool { return i.Mode&unix.S_IFMT == unix.S_IFDIR }

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

// Statx returns the Inode of f.
func (f File) Statx() (i Inode, err error) {
	err = f.StatxAt(NewName(""), &i)
	return i, err
}

// StatxAt sets *i to the Inode of the file name in the directory f. It does not follow a symbolic
// link, nor trigger an automount. It uses statx(2), or fstatat(2) before Linux 4.11.
func (f File) StatxAt(name Name, i *Inode) error {
	const mask = unix.STATX_TYPE | unix.STATX_MODE | unix.STATX_UID | unix.STATX_GID |
		unix.STATX_NLINK | unix.STATX_INO | unix.STATX_CTIME
	var st unix.Statx_t
	err := unix.Statx(f.Fd(), name.String(), noFollow, mask, &st)
	if err == unix.ENOSYS {
		return f.fstatatInode(name, i)
	}
	if err != nil {
		return os.NewSyscallError("statx", err)
	}
	*i = Inode{
		Mode: uint32(st.Mode), UID: st.Uid, GID: st.Gid, Links: st.Nlink, Number: st.Ino,
		FileSystem: DeviceNumber{st.Dev_major, st.Dev_minor},
		Changed:    Time{st.Ctime.Sec, st.Ctime.Nsec},
		Immutable:  st.Attributes&unix.STATX_ATTR_IMMUTABLE != 0,
		AppendOnly: st.Attributes&unix.STATX_ATTR_APPEND != 0,
	}
	return nil
}

func (f File) fstatatInode(name Name, i *Inode) error {
	var st unix.Stat_t
	if err := unix.Fstatat(f.Fd(), name.String(), &st, noFollow); err != nil {
		return os.NewSyscallError("fstatat", err)
	}
	*i = Inode{
		Mode: st.Mode, UID: st.Uid, GID: st.Gid, Links: uint32(st.Nlink), Number: st.Ino,
		FileSystem: DeviceNumber{unix.Major(st.Dev), unix.Minor(st.Dev)},
		Changed:    Time{int64(st.Ctim.Sec), uint32(st.Ctim.Nsec)},
	}
	if !i.IsDir() && i.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil
	}
	if flags, err := f.flagsAt(name); err == nil { // else the file system has no flags
		i.Immutable, i.AppendOnly = flags&flagImmutable != 0, flags&flagAppend != 0
	}
	return nil
}

// cached makes statx(2) answer from the kernel's cache: the file system, which may not respond, is
// not asked.
const cached = unix.AT_STATX_DONT_SYNC | unix.AT_NO_AUTOMOUNT

// StatxCached returns the type and inode of the target of a link in procfs, from the kernel's
// cache.
func StatxCached(link string) (Inode, error) {
	var st unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, link, cached, unix.STATX_TYPE|unix.STATX_INO, &st)
	if errors.Is(err, unix.ENOSYS) { // before Linux 4.11
		i, err := Stat(link)
		return Inode{Mode: i.Mode, Number: i.Inode, FileSystem: i.FileSystem}, err
	}
	fs := DeviceNumber{st.Dev_major, st.Dev_minor}
	i := Inode{Mode: uint32(st.Mode), Number: st.Ino, FileSystem: fs}
	return i, os.NewSyscallError("statx", err)
}

// LinkMountID returns the mount ID of the file to which a link in procfs leads (Linux 5.8).
func LinkMountID(link string) (int, error) {
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, link, cached, unix.STATX_MNT_ID, &st); err != nil {
		return 0, os.NewSyscallError("statx", err)
	}
	if st.Mask&unix.STATX_MNT_ID == 0 {
		return 0, errors.ErrUnsupported
	}
	return int(st.Mnt_id), nil
}
