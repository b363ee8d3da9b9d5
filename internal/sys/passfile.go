package sys

import (
	"os"

	"golang.org/x/sys/unix"
)

// SocketPair returns two ends of a unix socket by which files can be passed.
func SocketPair() (a, b File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return File{}, File{}, os.NewSyscallError("socketpair", err)
	}
	return File{fds[0] + 1}, File{fds[1] + 1}, nil
}

// SendFile passes f to the process that receives from the other end of the socket. f stays open
// until then, or until both ends are closed, whatever the sender does.
func SendFile(socket, f File) error { return send(socket, 0, 0, f) }

// DropStandardStreams replaces standard input, output and error by /dev/null.
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
