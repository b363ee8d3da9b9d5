package sys

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Unread is how many bytes of memory hold what was sent on a socket and not read yet by the other side (unix(7), SIOCOUTQ).
func Unread(conn syscall.Conn) (n int, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	var failed error
	if err := raw.Control(func(fd uintptr) { n, failed = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) }); err != nil {
		return 0, err
	}
	return n, os.NewSyscallError("ioctl SIOCOUTQ", failed)
}
