package sys

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// ReadRegular reads the regular file at path. It fails if the file is larger than limit bytes, and
// does not block on a FIFO.
func ReadRegular(path string, limit int64) ([]byte, error) {
	return readRegular(path, limit, nil)
}

// readRegular calls before, unless it is nil, with the open file.
func readRegular(path string, limit int64, before func(*os.File) error) ([]byte, error) {
	f, err := openRegular(path, "read", os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if before != nil {
		if err := before(f); err != nil {
			return nil, err
		}
	}
	text, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(text)) > limit {
		err = fmt.Errorf("larger than %d bytes", limit)
		return nil, &fs.PathError{Op: "read", Path: path, Err: err}
	}
	return text, err
}

// openRegular opens the regular file at path, without blocking on a FIFO. op is the operation in
// the error.
func openRegular(path, op string, flags int, mode os.FileMode) (*os.File, error) {
	f, err := os.OpenFile(path, flags|syscall.O_NONBLOCK, mode)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("not a regular file (mode %v)", info.Mode())
		err = &fs.PathError{Op: op, Path: path, Err: err}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// OpenAppend opens the regular file at path for appending, and creates it with the mode if it is
// missing. It does not follow a symbolic link, nor block on a FIFO.
func OpenAppend(path string, mode os.FileMode) (*os.File, error) {
	const flags = os.O_WRONLY | os.O_APPEND | os.O_CREATE | syscall.O_NOFOLLOW
	return openRegular(path, "write", flags, mode)
}

// ErrBeingWritten is the error for a file that is open for writing.
var ErrBeingWritten = errors.New("file is open for writing")

// ReadWithLease is like ReadRegular, but fails with ErrBeingWritten while the file is open for
// writing, since it may be incomplete. A read lease (F_SETLEASE, fcntl(2)) delays writers during
// the read. It takes no lease on a network file system, where leases have other meanings, and reads
// the file without one if this user does not own the file.
func ReadWithLease(path string, limit int64) ([]byte, error) {
	return readRegular(path, limit, func(f *os.File) error {
		fsType, _ := File{int(f.Fd()) + 1}.FSType()
		switch uint32(fsType) {
		case unix.NFS_SUPER_MAGIC, unix.CIFS_SUPER_MAGIC, unix.SMB2_SUPER_MAGIC,
			unix.SMB_SUPER_MAGIC, unix.CEPH_SUPER_MAGIC, unix.FUSE_SUPER_MAGIC:
			return nil
		}
		// The lease ends with the descriptor. The Go runtime ignores SIGIO, which reports a writer.
		_, err := unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_RDLCK)
		if errors.Is(err, unix.EAGAIN) {
			return &os.PathError{Op: "read", Path: path, Err: ErrBeingWritten}
		}
		return nil
	})
}
