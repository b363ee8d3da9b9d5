package sys

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// ErrBeingWritten is the error for a file that is open for writing.
var ErrBeingWritten = errors.New("file is open for writing")

// ReadWithLease is like ReadRegular, but fails with ErrBeingWritten while the file is open for
// writing, since it may be incomplete. A read lease (F_SETLEASE, fcntl(2)) delays writers during
// the read. It takes no lease on a network file system, where leases have other meanings, and reads
// the file without one if this user does not own the file.
func ReadWithLease(path string, limit int64) ([]byte, error) {
	f, err := openRegular(path, "read", os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if isRemote(f) {
		return readLimited(f, limit)
	}
	// The lease ends with the descriptor. The Go runtime ignores SIGIO, which reports a writer.
	_, err = unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_RDLCK)
	if errors.Is(err, unix.EAGAIN) {
		return nil, &os.PathError{Op: "read", Path: path, Err: ErrBeingWritten}
	}
	return readLimited(f, limit)
}

// isRemote reports whether f is on a network file system.
func isRemote(f *os.File) bool {
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &st); err != nil {
		return false
	}
	switch uint32(st.Type) {
	case unix.NFS_SUPER_MAGIC, unix.CIFS_SUPER_MAGIC, unix.SMB2_SUPER_MAGIC, unix.SMB_SUPER_MAGIC,
		unix.CEPH_SUPER_MAGIC, unix.FUSE_SUPER_MAGIC:
		return true
	}
	return false
}
