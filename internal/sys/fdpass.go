package sys

import (
	"os"

	"golang.org/x/sys/unix"
)

// SocketPair returns a connected pair of SOCK_SEQPACKET unix sockets.
func SocketPair() (a, b File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return File{}, File{}, os.NewSyscallError("socketpair", err)
	}
	return File{fds[0] + 1}, File{fds[1] + 1}, nil
}

// SendFile sends the descriptor f over the socket (SCM_RIGHTS). The file stays open until it is
// received, or both ends are closed, even if the sender closes f.
func SendFile(socket, f File) error { return send(socket, 0, 0, f) }

// DropStandardStreams replaces standard input, output and error with /dev/null.
func DropStandardStreams() error {
	null, err := OpenReadWrite(os.DevNull)
	if err != nil {
		return err
	}
	defer null.Close()
	for fd := range 3 {
		if err := unix.Dup3(null.Fd(), fd, 0); err != nil {
			return os.NewSyscallError("dup3", err)
		}
	}
	return nil
}
