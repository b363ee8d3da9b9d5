package sys

import (
	"errors"
	"os"
	"slices"
	"strconv"
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
func (*Thread) AttrList(name Name, buf []byte) (list []byte, complete bool, err error) {
	n, err := unix.Llistxattr(name.String(), buf)
	return attrList(buf, n, err)
}

// AttrList is like Thread.AttrList for the open file f, which must not be an O_PATH descriptor.
func (f File) AttrList(buf []byte) (list []byte, complete bool, err error) {
	n, err := unix.Flistxattr(f.Fd(), buf)
	return attrList(buf, n, err)
}

// EnterOpenFiles makes /proc/self/fd the thread's working directory, for OpenAttrList.
func (*Thread) EnterOpenFiles() error {
	return os.NewSyscallError("chdir", unix.Chdir("/proc/self/fd"))
}

// OpenAttrList is like AttrList for the open file f, which may be an O_PATH descriptor. The thread
// must be in /proc/self/fd (EnterOpenFiles).
func (*Thread) OpenAttrList(f File, buf []byte) (list []byte, complete bool, err error) {
	n, err := unix.Listxattr(strconv.Itoa(f.Fd()), buf)
	return attrList(buf, n, err)
}

func attrList(buf []byte, n int, err error) (list []byte, complete bool, _ error) {
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
