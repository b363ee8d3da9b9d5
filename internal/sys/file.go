package sys

import (
	"errors"
	"io"
	"math"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// File is an open descriptor of a kernel text file (procfs, sysfs, cgroupfs) that is read many times with pread, or of
// a directory below which others are opened. The zero File is not open. The owner of a File must see to it that nobody
// reads while it is closed: the number may already belong to another file.
type File struct {
	// fd is the descriptor plus one, so that the zero value is no descriptor.
	fd int
}

// minText is the room that a first read of a text offers: more than nearly every kernel text fills.
const minText = 4096

// Open opens path for reading.
func Open(path string) (File, error) { return openat(unix.AT_FDCWD, path, unix.O_RDONLY) }

// OpenDir opens the directory at path as a starting point for OpenAt; it gives no right to list it.
func OpenDir(path string) (File, error) {
	return openat(unix.AT_FDCWD, path, unix.O_PATH|unix.O_DIRECTORY)
}

// OpenAt opens name below the directory f for reading.
func (f File) OpenAt(name string) (File, error) { return openat(f.Fd(), name, unix.O_RDONLY) }

// OpenDirAt opens the directory name below the directory f, as OpenDir does.
func (f File) OpenDirAt(name string) (File, error) {
	return openat(f.Fd(), name, unix.O_PATH|unix.O_DIRECTORY)
}

func openat(dirfd int, path string, flags int) (File, error) {
	for failed := 0; ; failed++ {
		fd, err := unix.Openat(dirfd, path, flags|unix.O_CLOEXEC, 0)
		if err == nil {
			return File{fd + 1}, nil
		}
		if !mayRetry(err, failed) {
			return File{}, &os.PathError{Op: "open", Path: path, Err: err}
		}
	}
}

// Fd is the descriptor's number, -1 if f is not open.
func (f File) Fd() int { return f.fd - 1 }

// Path leads every process of the same pid namespace to the open file, as long as this one has it open.
func (f File) Path() string {
	return "/proc/" + strconv.Itoa(os.Getpid()) + "/fd/" + strconv.Itoa(f.Fd())
}

// IsOpen tells whether f holds a descriptor.
func (f File) IsOpen() bool { return f.fd != 0 }

// Close closes the descriptor. Closing a File that is not open does nothing.
func (f *File) Close() error {
	if f.fd == 0 {
		return nil
	}
	err := unix.Close(f.Fd())
	f.fd = 0
	return os.NewSyscallError("close", err)
}

// ReadText reads the whole text of a file that the kernel shows as one record (every file of cgroupfs but the lists of
// tasks, /proc/meminfo, /proc/stat, /proc/<pid>/stat) into buf, which it grows if need be, and returns the text. One
// pread, if buf is large enough.
func (f File) ReadText(buf []byte) ([]byte, error) { return f.read(buf, true, math.MaxInt) }

// ReadAll reads the whole text of a file of many records, of which a read may return a part (seq_file: at most its
// buffer), into buf, which it grows if need be. It ends with a read of nothing: at least two preads.
func (f File) ReadAll(buf []byte) ([]byte, error) { return f.read(buf, false, math.MaxInt) }

func (f File) read(buf []byte, oneRecord bool, max int) ([]byte, error) {
	buf = buf[:0]
	if cap(buf) == 0 {
		buf = make([]byte, 0, minText)
	}
	for {
		if len(buf) >= max {
			return buf[:max], nil
		}
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
		n, err := unix.Pread(f.Fd(), buf[len(buf):cap(buf)], int64(len(buf)))
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return buf, os.NewSyscallError("pread", err)
		}
		buf = buf[:len(buf)+n]
		if n == 0 || oneRecord && len(buf) < cap(buf) {
			return buf, nil
		}
	}
}

// ReadFile opens path, reads its whole text into buf as ReadAll does, and closes it.
func ReadFile(path string, buf []byte) ([]byte, error) {
	f, err := Open(path)
	if err != nil {
		return buf[:0], err
	}
	defer f.Close()
	return f.ReadAll(buf)
}

// ReadFileAt reads name below the directory f, as ReadFile does.
func (f File) ReadFileAt(name string, buf []byte) ([]byte, error) {
	g, err := f.OpenAt(name)
	if err != nil {
		return buf[:0], err
	}
	defer g.Close()
	return g.ReadAll(buf)
}

// ReadSomeAt reads at most max bytes of the file name below the directory f.
func (f File) ReadSomeAt(name string, max int) ([]byte, error) {
	return f.ReadSomeInto(name, max, nil)
}

// ReadSomeInto is ReadSomeAt into buf, which it returns, possibly reallocated.
func (f File) ReadSomeInto(name string, max int, buf []byte) ([]byte, error) {
	g, err := f.OpenAt(name)
	if err != nil {
		return buf[:0], err
	}
	defer g.Close()
	return g.read(buf, false, max)
}

// List returns the names in the directory f, which may have been opened by OpenDir, in no order.
func (f File) List() ([]string, error) { return f.ListSome(-1) }

// ListSome is List for a directory that may have any number of names: it reads no more than max of them, all if that is
// less than 0.
func (f File) ListSome(max int) ([]string, error) {
	if max == 0 {
		return nil, nil // Readdirnames would return all
	}
	listing, err := openat(f.Fd(), ".", unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	dir := os.NewFile(uintptr(listing.Fd()), ".")
	defer dir.Close()
	names, err := dir.Readdirnames(max)
	if errors.Is(err, io.EOF) {
		err = nil // there is none
	}
	return names, err
}
