package sys

import (
	"errors"
	"os"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// Reopener opens files for writing for processes that cannot (ConfineToReading). A request is a
// number and an O_PATH descriptor; the reply is the number, and an errno or a new descriptor.
type Reopener struct{ socket File }

// NewReopener returns a Reopener, and the socket for its clients.
func NewReopener() (r *Reopener, client File, err error) {
	own, client, err := SocketPair()
	return &Reopener{own}, client, err
}

// Serve answers requests until all copies of the client's socket are closed. allow gets the type of
// the file's file system (statfs(2)) and the path in /proc/self/fd.
func (r *Reopener) Serve(allow func(fsType int64, path string) bool) {
	for {
		number, errno, file, err := receive(r.socket)
		if err != nil {
			return
		}
		if errno == 0 {
			errno = file.reopen(allow)
		}
		if errno != 0 {
			file.Close()
		}
		send(r.socket, number, errno, file) // fails if the client has ended
		file.Close()
	}
}

// reopen replaces f, an O_PATH descriptor, by a descriptor open for reading and writing.
func (f *File) reopen(allow func(fsType int64, path string) bool) syscall.Errno {
	if !f.IsOpen() {
		return unix.EBADF
	}
	fsType, err := f.FSType()
	if err != nil {
		return toErrno(err)
	}
	path, err := os.Readlink(f.selfPath())
	if err != nil {
		return toErrno(err)
	}
	if !allow(fsType, path) {
		return unix.EACCES
	}
	opened, err := OpenReadWrite(f.selfPath())
	if err != nil {
		return toErrno(err)
	}
	f.Close()
	*f = opened
	return 0
}

func toErrno(err error) syscall.Errno {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return unix.EIO
}

// reopenNumber is the number of the last request. Successive processes share the socket, and one
// may end before it receives its reply.
var reopenNumber atomic.Uint64

// ReopenForWriting opens the file at path for reading and writing, by the Reopener at the other end
// of the socket if that is open. It must not be called concurrently.
func ReopenForWriting(socket File, path string) (File, error) {
	if !socket.IsOpen() {
		return OpenReadWrite(path)
	}
	f, err := openFile(func() (int, error) {
		f, err := reopenOnce(socket, path)
		if err == nil && !f.IsOpen() {
			err = unix.EMFILE // so the kernel has dropped the passed descriptor
		}
		return f.Fd(), err
	})
	if err == unix.EMFILE {
		err = pathError("open for writing", path, err)
	}
	return f, err
}

// reopenOnce sends one request. The File is not open if the reply came without a descriptor.
func reopenOnce(socket File, path string) (File, error) {
	f, err := openat(unix.AT_FDCWD, path, unix.O_PATH|unix.O_NOFOLLOW)
	if err != nil {
		return File{}, err
	}
	defer f.Close()
	number := uint64(os.Getpid())<<32 | reopenNumber.Add(1)&0xffff_ffff
	if err := send(socket, number, 0, f); err != nil {
		return File{}, err
	}
	for {
		answered, errno, file, err := receive(socket)
		switch {
		case err != nil:
			return File{}, err
		case answered != number: // the reply to a process that has ended
			file.Close()
		case errno != 0:
			file.Close()
			return File{}, &os.PathError{Op: "open for writing", Path: path, Err: errno}
		default:
			return file, nil
		}
	}
}
