package sys

import (
	"errors"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// maxAttr is XATTR_SIZE_MAX and XATTR_LIST_MAX of linux/limits.h.
const maxAttr = 64 << 10

// Attr returns the extended attribute name of f, which may be an O_PATH descriptor of a symbolic
// link. It returns nil if f has no such attribute, or its file system has none.
func (f File) Attr(name string) ([]byte, error) {
	return readXattr("getxattr "+name, 256, func(buf []byte) (int, error) {
		return unix.Getxattr(f.selfPath(), name, buf)
	})
}

// AttrNames returns the sorted names of the extended attributes of f.
func (f File) AttrNames() ([]string, error) {
	list, err := readXattr("listxattr", 1024, func(buf []byte) (int, error) {
		return unix.Listxattr(f.selfPath(), buf)
	})
	names := strings.FieldsFunc(string(list), func(c rune) bool { return c == 0 })
	slices.Sort(names)
	return names, err
}

// readXattr calls read with a buffer of size bytes, and again with a larger one if necessary.
func readXattr(call string, size int, read func(buf []byte) (int, error)) ([]byte, error) {
	for {
		buf := make([]byte, size)
		n, err := read(buf)
		switch {
		case err == nil:
			return buf[:n:n], nil
		case errors.Is(err, unix.ENODATA), errors.Is(err, unix.EOPNOTSUPP):
			return nil, nil
		case errors.Is(err, unix.ERANGE) && size < maxAttr:
			size = maxAttr
		default:
			return nil, os.NewSyscallError(call, err)
		}
	}
}

// SetAttr sets the extended attribute name of f.
func (f File) SetAttr(name string, value []byte) error {
	return os.NewSyscallError("setxattr "+name, unix.Setxattr(f.selfPath(), name, value, 0))
}

// RemoveAttr removes the extended attribute name of f, if there is one.
func (f File) RemoveAttr(name string) error {
	err := unix.Removexattr(f.selfPath(), name)
	if err == nil || errors.Is(err, unix.ENODATA) {
		return nil
	}
	return os.NewSyscallError("removexattr "+name, err)
}

// HasTrustedAttrs reports whether the file system of f stores trusted.* attributes, which only root
// can read.
func (f File) HasTrustedAttrs() bool {
	_, err := unix.Getxattr(f.selfPath(), "trusted.palisade", nil)
	return err == nil || errors.Is(err, unix.ENODATA)
}

// AttrList reads the NUL-terminated names of the extended attributes of the file name in the
// thread's working directory into buf. It does not follow a symbolic link. complete is false if
// buf is too small.
func (*Thread) AttrList(name Name, buf []byte) (list []byte, complete bool, _ error) {
	n, err := unix.Llistxattr(name.String(), buf)
	switch err {
	case nil:
		return buf[:n], true, nil
	case unix.EOPNOTSUPP:
		return nil, true, nil
	case unix.ERANGE:
		return nil, false, nil
	}
	return nil, false, os.NewSyscallError("listxattr", err)
}
