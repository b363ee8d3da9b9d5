package sys

import (
	"encoding/binary"
	"errors"
	"os"
	"strconv"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// Reopener opens files for writing for a process that may not (ConfineToReading), at the other end of a socket. A request
// is a number and a descriptor that stands for the file (O_PATH); the answer the number, an errno, and the new descriptor.
type Reopener struct{ socket File }

const reopenSize = 12 // uint64 number, uint32 errno

// NewReopener makes a socket, whose clients Serve answers.
func NewReopener() (r *Reopener, client File, err error) {
	own, client, err := SocketPair()
	return &Reopener{own}, client, err
}

// Serve answers requests until all clients are gone. allow decides by the type of a file's file system and the path on
// which the kernel has it.
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
		send(r.socket, number, errno, file) // to nobody, if the client is gone
		file.Close()
	}
}

// reopen makes f, which stands for a file, a descriptor that can write to it.
func (f *File) reopen(allow func(fsType int64, path string) bool) syscall.Errno {
	if !f.IsOpen() {
		return unix.EBADF
	}
	var st unix.Statfs_t
	if err := unix.Fstatfs(f.Fd(), &st); err != nil {
		return toErrno(err)
	}
	self := "/proc/self/fd/" + strconv.Itoa(f.Fd())
	path, err := os.Readlink(self)
	if err != nil {
		return toErrno(err)
	}
	if !allow(int64(st.Type), path) {
		return unix.EACCES
	}
	opened, err := OpenReadWrite(self)
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

// reopenNumber is the last request's. Processes one after the other use the same socket, and one may end before it has its
// answer.
var reopenNumber atomic.Uint64

// ReopenForWriting has the file at path opened by the Reopener at the other end of the socket. One call at a time.
func ReopenForWriting(socket File, path string) (File, error) {
	if !socket.IsOpen() {
		return OpenReadWrite(path)
	}
	for failed := 0; ; failed++ {
		f, err := reopenOnce(socket, path)
		// The kernel drops a passed descriptor if this process has too many open files.
		if err == nil && f.IsOpen() || err != nil {
			return f, err
		}
		if !mayRetry(unix.EMFILE, failed) {
			return f, &os.PathError{Op: "open to write", Path: path, Err: unix.EMFILE}
		}
	}
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
		case answered != number: // somebody's who is gone
			file.Close()
		case errno != 0:
			file.Close()
			return File{}, &os.PathError{Op: "open to write", Path: path, Err: errno}
		default:
			return file, nil
		}
	}
}

func send(socket File, number uint64, errno syscall.Errno, f File) error {
	message := binary.NativeEndian.AppendUint64(nil, number)
	message = binary.NativeEndian.AppendUint32(message, uint32(errno))
	var rights []byte
	if f.IsOpen() {
		rights = unix.UnixRights(f.Fd())
	}
	for {
		err := unix.Sendmsg(socket.Fd(), message, rights, nil, unix.MSG_NOSIGNAL)
		if err != unix.EINTR {
			return os.NewSyscallError("sendmsg", err)
		}
	}
}

func receive(socket File) (number uint64, errno syscall.Errno, f File, err error) {
	message, rights := make([]byte, reopenSize), make([]byte, unix.CmsgSpace(4))
	for {
		n, rightsSize, _, _, err := unix.Recvmsg(socket.Fd(), message, rights, unix.MSG_CMSG_CLOEXEC)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return 0, 0, f, os.NewSyscallError("recvmsg", err)
		case n == 0:
			return 0, 0, f, errors.New("the other end of the socket is closed")
		case n != reopenSize:
			return 0, 0, f, errors.New("the message at the socket is no request")
		}
		return binary.NativeEndian.Uint64(message), syscall.Errno(binary.NativeEndian.Uint32(message[8:])),
			passedFile(rights[:rightsSize]), nil
	}
}

// passedFile is the first descriptor of a control message; one that is not open if there is none.
func passedFile(rights []byte) File {
	messages, err := unix.ParseSocketControlMessage(rights)
	if err != nil {
		return File{}
	}
	for i := range messages {
		if fds, err := unix.ParseUnixRights(&messages[i]); err == nil && len(fds) > 0 {
			return File{fds[0] + 1}
		}
	}
	return File{}
}
