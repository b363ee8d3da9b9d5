package sys

import (
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// ListenerFile is another descriptor of a listener's socket, to be passed to another process.
func ListenerFile(l net.Listener) (File, error) {
	conn, ok := l.(syscall.Conn)
	if !ok {
		return File{}, &net.OpError{Op: "dup", Net: l.Addr().Network(), Addr: l.Addr(), Err: os.ErrInvalid}
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return File{}, err
	}
	var fd int
	var dupErr error
	err = raw.Control(func(socket uintptr) { fd, dupErr = unix.FcntlInt(socket, unix.F_DUPFD_CLOEXEC, 0) })
	if err == nil {
		err = os.NewSyscallError("fcntl F_DUPFD_CLOEXEC", dupErr)
	}
	if err != nil {
		return File{}, err
	}
	return File{fd + 1}, nil
}

// Listener is the listener whose socket f is. It takes the descriptor over.
func (f *File) Listener(name string) (net.Listener, error) {
	file := os.NewFile(uintptr(f.Fd()), name)
	f.fd = 0
	defer file.Close()
	return net.FileListener(file)
}
