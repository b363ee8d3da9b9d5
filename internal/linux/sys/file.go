package sys

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// File is an open descriptor: of a kernel text file (procfs, sysfs, cgroupfs), which is read many
// times with pread(2), of a directory, or of a namespace, socket or device. The zero File is not
// open. Its owner must close it only when no other goroutine uses it, because the kernel reuses the
// number.
type File struct {
	// fd is the descriptor plus one, so that the zero value is no descriptor.
	fd int
}

// Open opens path for reading.
func Open(path string) (File, error) { return openat(unix.AT_FDCWD, path, unix.O_RDONLY) }

// OpenAt opens name below the directory f for reading.
func (f File) OpenAt(name string) (File, error) { return openat(f.Fd(), name, unix.O_RDONLY) }

// OpenReadWrite opens path for reading and writing.
func OpenReadWrite(path string) (File, error) { return openat(unix.AT_FDCWD, path, unix.O_RDWR) }

// OpenReadWriteNonblock is like OpenReadWrite, with O_NONBLOCK.
func OpenReadWriteNonblock(path string) (File, error) {
	return openat(unix.AT_FDCWD, path, unix.O_RDWR|unix.O_NONBLOCK)
}

// OpenReadWriteAt opens name below the directory f for reading and writing.
func (f File) OpenReadWriteAt(name string) (File, error) {
	return openat(f.Fd(), name, unix.O_RDWR)
}

// OpenDir opens the directory at path with O_PATH, as a starting point for OpenAt.
func OpenDir(path string) (File, error) {
	return openat(unix.AT_FDCWD, path, unix.O_PATH|unix.O_DIRECTORY)
}

// OpenDirAt is like OpenDir for the directory name below the directory f.
func (f File) OpenDirAt(name string) (File, error) {
	return openat(f.Fd(), name, unix.O_PATH|unix.O_DIRECTORY)
}

// OpenDirNoFollow is like OpenDir, but fails if path is a symbolic link.
func OpenDirNoFollow(path string) (File, error) {
	return openat(unix.AT_FDCWD, path, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW)
}

// OpenPath opens the file at path with O_PATH, which sends no request to the file's file system.
func OpenPath(path string) (File, error) { return openat(unix.AT_FDCWD, path, unix.O_PATH) }

// OpenPathAt is like OpenPath for the file name below the directory f, but opens a symbolic link
// itself.
func (f File) OpenPathAt(name string) (File, error) {
	return openat(f.Fd(), name, unix.O_PATH|unix.O_NOFOLLOW)
}

func openat(dirfd int, path string, flags int) (File, error) {
	f, err := openFile(func() (int, error) {
		return unix.Openat(dirfd, path, flags|unix.O_CLOEXEC, 0)
	})
	return f, pathError("open", path, err)
}

// pathError returns nil if err is nil.
func pathError(op, path string, err error) error {
	if err == nil {
		return nil
	}
	return &os.PathError{Op: op, Path: path, Err: err}
}

// Fd returns the descriptor's number, or -1 if f is not open.
func (f File) Fd() int { return f.fd - 1 }

// Path returns a path that opens f from every process of this pid namespace while f is open.
func (f File) Path() string {
	return "/proc/" + strconv.Itoa(os.Getpid()) + "/fd/" + strconv.Itoa(f.Fd())
}

// selfPath is like Path for this process only. It needs a procfs on /proc, which a NamespaceThread
// may not have.
func (f File) selfPath() string { return "/proc/self/fd/" + strconv.Itoa(f.Fd()) }

// Duplicate returns another descriptor of the same open file.
func (f File) Duplicate() (File, error) {
	d, err := openFile(func() (int, error) {
		return unix.FcntlInt(uintptr(f.Fd()), unix.F_DUPFD_CLOEXEC, 0)
	})
	return d, os.NewSyscallError("fcntl F_DUPFD_CLOEXEC", err)
}

// IsOpen reports whether f holds a descriptor.
func (f File) IsOpen() bool { return f.fd != 0 }

// Close closes the descriptor, if f is open.
func (f *File) Close() error {
	if f.fd == 0 {
		return nil
	}
	err := unix.Close(f.Fd())
	f.fd = 0
	return os.NewSyscallError("close", err)
}

// Mkdir creates the directory name with mode 0755 in the directory f.
func (f File) Mkdir(name string) error {
	return pathError("mkdir", name, unix.Mkdirat(f.Fd(), name, 0o755))
}

// Rmdir removes the empty directory name from the directory f.
func (f File) Rmdir(name string) error {
	return pathError("rmdir", name, unix.Unlinkat(f.Fd(), name, unix.AT_REMOVEDIR))
}
