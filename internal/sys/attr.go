package sys

import (
	"bytes"
	"errors"
	"os"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// Extended attributes (xattr(7)) of a file that may have been opened by OpenPathAt, a symbolic link included. It is named by
// its descriptor, so that no path is resolved.

// fdPath leads this process to the open file. It needs a procfs on /proc, and is not for a NamespaceThread.
func (f File) fdPath() string { return "/proc/self/fd/" + strconv.Itoa(f.Fd()) }

// maxAttr is how large an extended attribute can be (XATTR_SIZE_MAX).
const maxAttr = 64 << 10

// Attr reads an extended attribute, nil if the file has none of this name or its file system none at all.
func (f File) Attr(name string) ([]byte, error) {
	buf := make([]byte, 256)
	for {
		n, err := unix.Getxattr(f.fdPath(), name, buf)
		switch {
		case err == nil:
			return buf[:n:n], nil
		case errors.Is(err, unix.ENODATA), errors.Is(err, unix.EOPNOTSUPP):
			return nil, nil
		case errors.Is(err, unix.ERANGE) && len(buf) < maxAttr:
			buf = make([]byte, maxAttr)
		default:
			return nil, &os.SyscallError{Syscall: "getxattr " + name, Err: err}
		}
	}
}

// SetAttr writes an extended attribute.
func (f File) SetAttr(name string, value []byte) error {
	if err := unix.Setxattr(f.fdPath(), name, value, 0); err != nil {
		return os.NewSyscallError("setxattr "+name, err)
	}
	return nil
}

// RemoveAttr removes an extended attribute, if it is there.
func (f File) RemoveAttr(name string) error {
	err := unix.Removexattr(f.fdPath(), name)
	if err == nil || errors.Is(err, unix.ENODATA) {
		return nil
	}
	return os.NewSyscallError("removexattr "+name, err)
}

// AttrNames are the names of the extended attributes, sorted; none where the file system has none.
func (f File) AttrNames() ([]string, error) {
	buf := make([]byte, 1024)
	for {
		n, err := unix.Listxattr(f.fdPath(), buf)
		switch {
		case err == nil:
			var names []string
			for name := range bytes.SplitSeq(buf[:n], []byte{0}) {
				if len(name) > 0 {
					names = append(names, string(name))
				}
			}
			slices.Sort(names)
			return names, nil
		case errors.Is(err, unix.EOPNOTSUPP):
			return nil, nil
		case errors.Is(err, unix.ERANGE) && len(buf) < maxAttr:
			buf = make([]byte, maxAttr)
		default:
			return nil, os.NewSyscallError("listxattr", err)
		}
	}
}

// HasTrustedAttrs tells whether the file's file system keeps attributes that only root sees (trusted.*).
func (f File) HasTrustedAttrs() bool {
	_, err := unix.Getxattr(f.fdPath(), "trusted.palisade", nil)
	return err == nil || errors.Is(err, unix.ENODATA)
}

// IsReadOnly tells whether files of the directory f cannot be changed, because the file system, the mount or, of btrfs, the
// subvolume is read-only.
func (f File) IsReadOnly() bool {
	return errors.Is(unix.Faccessat(unix.AT_FDCWD, f.fdPath(), unix.W_OK, 0), unix.EROFS)
}

// Chmod changes the permissions, with the bits for set-id and sticky, of a file that is no symbolic link.
func (f File) Chmod(mode uint32) error {
	return os.NewSyscallError("chmod", unix.Fchmodat(unix.AT_FDCWD, f.fdPath(), mode, 0))
}

// SetModeBits are the bits of Inode.Mode that Chmod changes.
const SetModeBits = 0o7777

// openContent opens the regular file or directory f, which may be an O_PATH descriptor, for ioctls.
// It opens nothing else: opening a device or a FIFO has side effects, or blocks.
func (f File) openContent() (File, error) {
	i, err := f.StatAt("")
	if err != nil {
		return File{}, err
	}
	if !i.IsRegular() && !i.IsDir() {
		return File{}, &os.PathError{Op: "open", Path: f.fdPath(), Err: errNoContent}
	}
	return openat(unix.AT_FDCWD, f.fdPath(), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOATIME)
}

var errNoContent = errors.New("neither a regular file nor a directory")

// Flags returns the flags of the regular file or directory f (ioctl_iflags(2)).
func (f File) Flags() (uint32, error) {
	file, err := f.openContent()
	if err != nil {
		return 0, err
	}
	defer file.Close()
	flags, err := unix.IoctlGetUint32(file.Fd(), unix.FS_IOC_GETFLAGS)
	return flags, os.NewSyscallError("ioctl FS_IOC_GETFLAGS", err)
}

// flagsAt returns the flags of the file name in the directory f, or of f if name is empty.
func (f File) flagsAt(name Name) (uint32, error) {
	if len(name) == 1 {
		return f.Flags()
	}
	file, err := f.OpenNamedAt(name)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	return file.Flags()
}

// Flags of linux/fs.h, FS_IMMUTABLE_FL and FS_APPEND_FL.
const (
	flagImmutable = 0x10
	flagAppend    = 0x20
)

// WithoutProtection are flags without those that keep a file from being changed.
func WithoutProtection(flags uint32) uint32 {
	return flags &^ (flagImmutable | flagAppend)
}

// SetFlags sets the flags of the regular file or directory f.
func (f File) SetFlags(flags uint32) error {
	file, err := f.openContent()
	if err != nil {
		return err
	}
	defer file.Close()
	return os.NewSyscallError("ioctl FS_IOC_SETFLAGS", unix.IoctlSetPointerInt(file.Fd(), unix.FS_IOC_SETFLAGS, int(flags)))
}

// OpenSame opens the directory f, which may have been opened by OpenDir, to list or sync it.
func (f File) OpenSame() (File, error) { return openat(f.Fd(), ".", openListing) }

// Sync writes the file's or directory's changes to the disk.
func (f File) Sync() error { return os.NewSyscallError("fsync", unix.Fsync(f.Fd())) }

// SyncFS writes all changes of the file system to the disk.
func (f File) SyncFS() error { return os.NewSyscallError("syncfs", unix.Syncfs(f.Fd())) }
