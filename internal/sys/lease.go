package sys

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// ErrBeingWritten is the error of a file that somebody has open for writing.
var ErrBeingWritten = errors.New("it is being written")

// ReadWithLease reads a regular file as ReadRegular does, but fails with ErrBeingWritten as long as somebody has it open for
// writing: half of it may be there. It takes a lease on the file (F_SETLEASE, fcntl(2)), which holds up writers meanwhile. Who
// does not own the file gets no lease, and network file systems give them for reasons of their own: what is there is read then.
func ReadWithLease(path string, limit int64) ([]byte, error) {
	f, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if isRemote(f) {
		return readLimited(f, limit)
	}
	// The lease ends with the descriptor. The signal that tells of a writer who waits is ignored by Go's runtime.
	if _, err := unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_RDLCK); errors.Is(err, unix.EAGAIN) {
		return nil, &os.PathError{Op: "read", Path: path, Err: ErrBeingWritten}
	}
	return readLimited(f, limit)
}

// isRemote tells whether a file is on a network file system.
func isRemote(f *os.File) bool {
	var stat unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &stat); err != nil {
		return false
	}
	switch uint32(stat.Type) {
	case unix.NFS_SUPER_MAGIC, unix.CIFS_SUPER_MAGIC, unix.SMB2_SUPER_MAGIC, unix.SMB_SUPER_MAGIC, unix.CEPH_SUPER_MAGIC, unix.FUSE_SUPER_MAGIC:
		return true
	}
	return false
}
