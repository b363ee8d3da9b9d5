package sys

import (
	"encoding/binary"
	"os"

	"golang.org/x/sys/unix"
)

// Name is the name of a file in a directory, with a NUL byte at its end, as system calls take it.
type Name []byte

// NewName converts name to a Name.
func NewName(name string) Name { return append([]byte(name), 0) }

// String returns the name without its NUL byte.
func (n Name) String() string { return string(n[:len(n)-1]) }

// Entry is a directory entry.
type Entry struct {
	Name Name
	// IsDir and IsRegular are both false if the file system does not return the type (DT_UNKNOWN).
	IsDir, IsRegular bool
}

// Entries is a buffer filled by getdents64(2).
type Entries []byte

// direntHead is the length of struct linux_dirent64 before the name.
const direntHead = 19

// Next removes the first entry other than "." and ".." from e and returns it; ok is false if there
// is none.
func (e *Entries) Next() (entry Entry, ok bool) {
	for len(*e) > direntHead {
		b := *e
		size := int(binary.NativeEndian.Uint16(b[16:]))
		if size <= direntHead || size > len(b) {
			break // malformed
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
		kind := b[18]
		return Entry{Name(name[:end+1]), kind == unix.DT_DIR, kind == unix.DT_REG}, true
	}
	return Entry{}, false
}

// ReadEntries reads the next entries of the directory f into buf (getdents64(2)). It returns no
// bytes at the end of the directory.
func (f File) ReadEntries(buf []byte) (Entries, error) {
	n, err := unix.Getdents(f.Fd(), buf)
	if err != nil {
		return nil, os.NewSyscallError("getdents64", err)
	}
	return Entries(buf[:n]), nil
}

const openListing = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_NOATIME

// OpenListing opens the directory name in the directory f for ReadEntries. It fails if name is a
// symbolic link, or on another mount (before Linux 5.6 the mount is not checked).
func (f File) OpenListing(name Name) (File, error) {
	opened, err := f.openat2(name.String(), openListing, unix.RESOLVE_BENEATH|
		unix.RESOLVE_NO_SYMLINKS|unix.RESOLVE_NO_XDEV|unix.RESOLVE_NO_MAGICLINKS)
	if err == unix.ENOSYS {
		return openat(f.Fd(), name.String(), openListing)
	}
	return opened, os.NewSyscallError("open", err)
}

// ReopenDir opens the directory f, which may have been opened by OpenDir, for ReadEntries or
// SyncFS.
func (f File) ReopenDir() (File, error) { return openat(f.Fd(), ".", openListing) }
