package sys

import (
	"encoding/binary"
	"errors"
	"os"
	"runtime"
	"strconv"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Name is the name of a file in a directory as the kernel gives and takes it: it ends with a NUL byte.
type Name []byte

// MakeName is the name as a Name.
func MakeName(name string) Name { return append([]byte(name), 0) }

// String is the name without its end.
func (n Name) String() string { return string(n[:len(n)-1]) }

// Entry is what a directory says of a file.
type Entry struct {
	Name Name
	// IsDir tells that it is a directory. Not every file system tells; a directory is then not known to be one.
	IsDir bool
	// IsRegular is set for a regular file, with the same restriction.
	IsRegular bool
	// Number is its inode's, which is another one than Inode.Number where something is mounted on it.
	Number uint64
}

// Entries are what ReadEntries has read.
type Entries []byte

// direntHead is the length of struct linux_dirent64 before the name.
const direntHead = 19

// Next takes the next entry from the beginning; "." and ".." are left out. At the end ok is false.
func (e *Entries) Next() (entry Entry, ok bool) {
	for len(*e) > direntHead {
		b := *e
		size := int(binary.NativeEndian.Uint16(b[16:]))
		if size <= direntHead || size > len(b) {
			break // the kernel does not do that
		}
		name := b[direntHead:size]
		end := 0
		for end < len(name)-1 && name[end] != 0 {
			end++
		}
		*e = b[size:]
		if name[0] == '.' && (end == 1 || end == 2 && name[1] == '.') {
			continue
		}
		kind, number := b[18], binary.NativeEndian.Uint64(b)
		return Entry{Name(name[:end+1]), kind == unix.DT_DIR, kind == unix.DT_REG, number}, true
	}
	return Entry{}, false
}

// ReadEntries reads the next part of a directory into buf (getdents64(2)); nothing at its end.
func (f File) ReadEntries(buf []byte) (Entries, error) {
	n, err := unix.Getdents(f.Fd(), buf)
	if err != nil {
		return nil, os.NewSyscallError("getdents64", err)
	}
	return Entries(buf[:n]), nil
}

// openListing are the flags for a directory that is to be listed.
const openListing = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC | unix.O_NOATIME

// OpenListing opens the directory name, which is to be in the directory f and on the same mount, to list it. It is not
// followed if it is a symbolic link. Before Linux 5.6 it may be on another mount.
func (f File) OpenListing(name Name) (File, error) {
	how := unix.OpenHow{Flags: openListing,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV | unix.RESOLVE_NO_MAGICLINKS}
	for {
		fd, _, errno := unix.Syscall6(unix.SYS_OPENAT2, uintptr(f.Fd()), uintptr(unsafe.Pointer(&name[0])),
			uintptr(unsafe.Pointer(&how)), unix.SizeofOpenHow, 0, 0)
		if errno == unix.ENOSYS {
			fd, _, errno = unix.Syscall6(unix.SYS_OPENAT, uintptr(f.Fd()), uintptr(unsafe.Pointer(&name[0])), openListing, 0, 0, 0)
		}
		switch errno {
		case 0:
			return File{int(fd) + 1}, nil
		case unix.EINTR, unix.EAGAIN:
		default:
			return File{}, os.NewSyscallError("open", errno)
		}
	}
}

// Inode is what is known of a file itself.
type Inode struct {
	// Mode has the type and the permissions, as st_mode.
	Mode     uint32
	UID, GID uint32
	Links    uint32
	// Number is its number on the file system FileSystem.
	Number     uint64
	FileSystem DeviceNumber
	// Changed is when it, or the names in it, were changed last: its ctime.
	Changed Time
	// Immutable and AppendOnly are flags of it (ioctl_iflags(2)).
	Immutable, AppendOnly bool
}

// Time is a time of a file, in seconds since 1970 and nanoseconds.
type Time struct {
	Sec  int64
	Nsec uint32
}

// Now is the present time, as files get it.
func Now() Time {
	now := time.Now()
	return Time{now.Unix(), uint32(now.Nanosecond())}
}

// Until is how many nanoseconds pass from t until o.
func (t Time) Until(o Time) int64 { return (o.Sec-t.Sec)*1_000_000_000 + int64(o.Nsec) - int64(t.Nsec) }

// IsDir tells whether the file is a directory.
func (i *Inode) IsDir() bool { return i.Mode&unix.S_IFMT == unix.S_IFDIR }

// HasSetID tells whether it has a bit that makes programs run as its owner or group. Directories have none: what
// the bits mean for them is another thing.
func (i *Inode) HasSetID() bool { return !i.IsDir() && i.Mode&(unix.S_ISUID|unix.S_ISGID) != 0 }

// hasFlags tells whether flags can be asked of it.
func (i *Inode) hasFlags() bool { return i.IsDir() || i.Mode&unix.S_IFMT == unix.S_IFREG }

// inodeMask is what InodeAt asks for.
const inodeMask = unix.STATX_TYPE | unix.STATX_MODE | unix.STATX_UID | unix.STATX_GID | unix.STATX_NLINK | unix.STATX_INO | unix.STATX_CTIME

// emptyName stands for the directory itself.
var emptyName = Name{0}

// Look looks at the file f.
func (f File) Look() (i Inode, err error) {
	err = f.InodeAt(emptyName, &i)
	return i, err
}

// The calls below are made for each file, and return at once: the scheduler is not told of them (RawSyscall), which would
// take a thirtieth of the time. On a remote file system that hangs they keep a processor from other goroutines.

// InodeAt looks at the file name in the directory f without following it, and without triggering an automount (statx(2);
// before Linux 4.11, and where it is forbidden, fstatat(2)).
func (f File) InodeAt(name Name, i *Inode) error {
	const flags = unix.AT_SYMLINK_NOFOLLOW | unix.AT_NO_AUTOMOUNT | unix.AT_EMPTY_PATH
	var st unix.Statx_t
	_, _, errno := unix.RawSyscall6(unix.SYS_STATX, uintptr(f.Fd()), uintptr(unsafe.Pointer(&name[0])), flags, inodeMask,
		uintptr(unsafe.Pointer(&st)), 0)
	if errno == unix.ENOSYS {
		return f.oldInodeAt(name, i)
	}
	if errno != 0 {
		return os.NewSyscallError("statx", errno)
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

func (f File) oldInodeAt(name Name, i *Inode) error {
	var st unix.Stat_t
	err := unix.Fstatat(f.Fd(), name.String(), &st, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT|unix.AT_EMPTY_PATH)
	if err != nil {
		return os.NewSyscallError("fstatat", err)
	}
	*i = Inode{
		Mode: st.Mode, UID: st.Uid, GID: st.Gid, Links: uint32(st.Nlink), Number: st.Ino,
		FileSystem: DeviceNumber{unix.Major(st.Dev), unix.Minor(st.Dev)},
		Changed:    Time{int64(st.Ctim.Sec), uint32(st.Ctim.Nsec)},
	}
	if !i.hasFlags() {
		return nil
	}
	flags, err := f.flagsAt(name)
	if err == nil {
		i.Immutable, i.AppendOnly = flags&flagImmutable != 0, flags&flagAppend != 0
	}
	return nil // a file system without flags has none that are set
}

// Chown changes the owner and group of the file f, which may be an O_PATH descriptor. There is no
// variant with a name, since the file may have been replaced since it was checked. The kernel
// clears the set-id bits and capabilities of files other than directories, even if nothing changes.
func (f File) Chown(uid, gid uint32) error {
	_, _, errno := unix.RawSyscall6(unix.SYS_FCHOWNAT, uintptr(f.Fd()),
		uintptr(unsafe.Pointer(&emptyName[0])), uintptr(uid), uintptr(gid), unix.AT_EMPTY_PATH, 0)
	if errno != 0 {
		return os.NewSyscallError("fchownat", errno)
	}
	return nil
}

// OpenNamedAt opens the file name in the directory f with O_PATH, without following a symbolic
// link.
func (f File) OpenNamedAt(name Name) (File, error) {
	const flags = unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC
	fd, _, errno := unix.RawSyscall6(unix.SYS_OPENAT, uintptr(f.Fd()),
		uintptr(unsafe.Pointer(&name[0])), flags, 0, 0, 0)
	if errno != 0 {
		return File{}, os.NewSyscallError("open", errno)
	}
	return File{int(fd) + 1}, nil
}

// CloseReference closes f, which was opened by OpenNamedAt. As close(2) of an O_PATH descriptor
// does not block, it does not notify the Go scheduler.
func (f *File) CloseReference() {
	if f.fd != 0 {
		unix.RawSyscall(unix.SYS_CLOSE, uintptr(f.Fd()), 0, 0) // never fails
		f.fd = 0
	}
}

// Handle returns the type and file handle of the file name in the directory f, or of f if name is
// empty (name_to_handle_at(2)). It returns nil if the file system has no handles. The handle is
// stable across reboots; if it includes a generation, no later file gets the same one.
func (f File) Handle(name Name) ([]byte, error) {
	h, _, err := unix.NameToHandleAt(f.Fd(), name.String(), unix.AT_EMPTY_PATH)
	switch {
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOSYS):
		return nil, nil
	case err != nil:
		return nil, os.NewSyscallError("name_to_handle_at", err)
	}
	return append(binary.LittleEndian.AppendUint32(nil, uint32(h.Type())), h.Bytes()...), nil
}

// Thread is a thread with a working directory of its own.
type Thread struct{ _ noCopy }

// noCopy makes vet report copies.
type noCopy struct{}

func (*noCopy) Lock()   {}
func (*noCopy) Unlock() {}

// OnOwnThread runs do on a thread with a working directory of its own, which ends with it.
func OnOwnThread(do func(*Thread) error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the runtime ends the thread with the goroutine
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			done <- os.NewSyscallError("unshare CLONE_FS", err)
			return
		}
		done <- do(new(Thread))
	}()
	return <-done
}

// Enter makes the directory the thread's working directory.
func (*Thread) Enter(dir File) error { return os.NewSyscallError("fchdir", unix.Fchdir(dir.Fd())) }

// AttrList reads the names of the extended attributes of the file name in the thread's working directory into buf, each with
// a NUL byte at its end. It is not followed. complete is false if they are more than buf can hold.
func (*Thread) AttrList(name Name, buf []byte) (list []byte, complete bool, err error) {
	n, _, errno := unix.RawSyscall(unix.SYS_LLISTXATTR, uintptr(unsafe.Pointer(&name[0])), uintptr(unsafe.Pointer(&buf[0])), uintptr(len(buf)))
	return attrList(buf, n, errno)
}

// AttrList is like Thread.AttrList for the open file f, which must not be an O_PATH descriptor.
func (f File) AttrList(buf []byte) (list []byte, complete bool, err error) {
	n, _, errno := unix.Syscall(unix.SYS_FLISTXATTR, uintptr(f.Fd()), uintptr(unsafe.Pointer(&buf[0])), uintptr(len(buf)))
	return attrList(buf, n, errno)
}

// EnterOpenFiles makes /proc/self/fd the thread's working directory, for OpenAttrList.
func (*Thread) EnterOpenFiles() error {
	return os.NewSyscallError("chdir", unix.Chdir("/proc/self/fd"))
}

// OpenAttrList is like AttrList for the open file f, which may be an O_PATH descriptor.
func (*Thread) OpenAttrList(f File, buf []byte) (list []byte, complete bool, err error) {
	var name [24]byte
	strconv.AppendInt(name[:0], int64(f.Fd()), 10)
	n, _, errno := unix.RawSyscall(unix.SYS_LISTXATTR, uintptr(unsafe.Pointer(&name[0])),
		uintptr(unsafe.Pointer(&buf[0])), uintptr(len(buf)))
	return attrList(buf, n, errno)
}

func attrList(buf []byte, n uintptr, errno unix.Errno) (list []byte, complete bool, err error) {
	switch errno {
	case 0:
		return buf[:n], true, nil
	case unix.EOPNOTSUPP:
		return nil, true, nil
	case unix.ERANGE:
		return nil, false, nil
	}
	return nil, false, os.NewSyscallError("listxattr", errno)
}
