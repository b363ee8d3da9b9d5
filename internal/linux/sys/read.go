package sys

import (
	"errors"
	"io"
	"io/fs"
	"math"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// minText is the size in bytes of the first read of a text. Nearly every kernel text is shorter.
const minText = 4096

// ReadText reads a file that the kernel returns as one record (/proc/meminfo, /proc/stat,
// /proc/<pid>/stat, a file of sysfs, every file of cgroupfs except the lists of tasks) into buf,
// and returns the text. It makes one pread(2) if buf is large enough, else it starts again with a
// larger one: other readers of f may make the kernel replace the record.
func (f File) ReadText(buf []byte) ([]byte, error) {
	if cap(buf) == 0 {
		buf = make([]byte, minText)
	}
	for buf = buf[:cap(buf)]; ; {
		n, err := unix.Pread(f.Fd(), buf, 0)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return buf[:0], os.NewSyscallError("pread", err)
		case n < len(buf):
			return buf[:n], nil
		default:
			buf = make([]byte, 2*len(buf))
		}
	}
}

// read appends at most limit bytes from the start of the file to buf[:0]. It reads until end of
// file: seq_file returns at most its buffer per read. After the deadline, unless that is zero, it
// fails with os.ErrDeadlineExceeded.
func (f File) read(buf []byte, limit int, deadline time.Time) ([]byte, error) {
	buf = buf[:0]
	if cap(buf) == 0 {
		buf = make([]byte, 0, minText)
	}
	for {
		if len(buf) >= limit {
			return buf[:limit], nil
		}
		if !deadline.IsZero() && time.Now().After(deadline) {
			return buf, os.ErrDeadlineExceeded
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
		if n == 0 {
			return buf, nil
		}
	}
}

// ReadFile reads the whole file at path into buf, grows buf if necessary, and returns the text.
func ReadFile(path string, buf []byte) ([]byte, error) {
	return readAt(unix.AT_FDCWD, path, math.MaxInt, buf, time.Time{})
}

// ReadFileAt is like ReadFile for the file name below the directory f.
func (f File) ReadFileAt(name string, buf []byte) ([]byte, error) {
	return readAt(f.Fd(), name, math.MaxInt, buf, time.Time{})
}

// ReadSomeAt is like ReadFileAt, but reads at most limit bytes.
func (f File) ReadSomeAt(name string, limit int, buf []byte) ([]byte, error) {
	return readAt(f.Fd(), name, limit, buf, time.Time{})
}

// ReadSomeUntil is like ReadSomeAt without a buffer, but fails with os.ErrDeadlineExceeded after
// the deadline.
func (f File) ReadSomeUntil(name string, limit int, deadline time.Time) ([]byte, error) {
	return readAt(f.Fd(), name, limit, nil, deadline)
}

func readAt(dirfd int, name string, limit int, buf []byte, deadline time.Time) ([]byte, error) {
	f, err := openat(dirfd, name, unix.O_RDONLY)
	if err != nil {
		return buf[:0], err
	}
	defer f.Close()
	return f.read(buf, limit, deadline)
}

// List returns the unsorted names in the directory f, which may have been opened by OpenDir.
func (f File) List() ([]string, error) { return f.ListSome(-1) }

// ListSome is like List, but returns at most limit names, or all if limit is negative.
func (f File) ListSome(limit int) ([]string, error) {
	if limit == 0 {
		return nil, nil // Readdirnames would return all
	}
	dir, err := f.reopenDir()
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(limit)
	if errors.Is(err, io.EOF) {
		err = nil // an empty directory
	}
	return names, err
}

// ReadDir is like List, but returns the types of the files as well. It needs a procfs on /proc.
func (f File) ReadDir() ([]fs.DirEntry, error) {
	dir, err := f.reopenDir()
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	return dir.ReadDir(-1)
}

func (f File) reopenDir() (*os.File, error) {
	listing, err := openat(f.Fd(), ".", unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(listing.Fd()), listing.selfPath()), nil
}

// Read makes one read(2).
func (f File) Read(buf []byte) (int, error) {
	for {
		n, err := unix.Read(f.Fd(), buf)
		if err != unix.EINTR {
			return max(n, 0), os.NewSyscallError("read", err)
		}
	}
}

// Write makes one write(2), which may write a part of buf.
func (f File) Write(buf []byte) (int, error) {
	for {
		n, err := unix.Write(f.Fd(), buf)
		if err != unix.EINTR {
			return max(n, 0), os.NewSyscallError("write", err)
		}
	}
}

// ReadlinkAt reads the symbolic link at path below the directory f into buf, and returns the part
// of buf that was filled. path must end with a NUL byte. Without an error it allocates no memory.
func (f File) ReadlinkAt(path, buf []byte) ([]byte, error) {
	if len(path) == 0 || path[len(path)-1] != 0 || len(buf) == 0 {
		return nil, os.NewSyscallError("readlinkat", unix.EINVAL)
	}
	n, _, errno := unix.Syscall6(unix.SYS_READLINKAT, uintptr(f.Fd()),
		uintptr(unsafe.Pointer(&path[0])), uintptr(unsafe.Pointer(&buf[0])), uintptr(len(buf)),
		0, 0)
	if errno != 0 {
		return nil, os.NewSyscallError("readlinkat", errno)
	}
	return buf[:n], nil
}
