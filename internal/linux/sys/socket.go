package sys

import (
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Unread returns the bytes of memory used by data sent on a unix socket that the peer has not read
// (SIOCOUTQ, unix(7)).
func Unread(conn syscall.Conn) (n int, err error) {
	err = control(conn, "ioctl SIOCOUTQ", func(fd uintptr) (err error) {
		n, err = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ)
		return err
	})
	return n, err
}

// ListenerFile returns a duplicate of the listener's descriptor, to be passed to another process.
func ListenerFile(l net.Listener) (File, error) {
	conn, ok := l.(syscall.Conn)
	if !ok {
		addr := l.Addr()
		return File{}, &net.OpError{Op: "dup", Net: addr.Network(), Addr: addr, Err: os.ErrInvalid}
	}
	var f File
	err := control(conn, "fcntl F_DUPFD_CLOEXEC", func(fd uintptr) error {
		duplicate, err := unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0)
		if err == nil {
			f = File{duplicate + 1}
		}
		return err
	})
	return f, err
}

// control calls do with conn's descriptor. call is the system call in the error.
func control(conn syscall.Conn, call string, do func(fd uintptr) error) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	if err := raw.Control(func(fd uintptr) { failed = do(fd) }); err != nil {
		return err
	}
	return os.NewSyscallError(call, failed)
}

// Listener returns a listener on the socket f, which it closes.
func (f *File) Listener(name string) (net.Listener, error) {
	file := os.NewFile(uintptr(f.Fd()), name)
	f.fd = 0
	defer file.Close()
	return net.FileListener(file)
}
