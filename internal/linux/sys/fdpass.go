package sys

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"

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

// SendNumbered sends a number over a socket of SocketPair, with the descriptor f if that is open.
func SendNumbered(socket File, number uint64, f File) error { return send(socket, number, 0, f) }

// ReceiveNumbered receives what SendNumbered has sent. f is not open if no descriptor was sent, or
// if too many are open.
func ReceiveNumbered(socket File) (number uint64, f File, err error) {
	number, _, f, err = receive(socket)
	return number, f, err
}

// ReceiveFiles reads from a stream socket into data, and returns the descriptors that came with it.
func ReceiveFiles(conn *net.UnixConn, data []byte) (n int, files []File, err error) {
	const most = 64 // the kernel closes those that do not fit
	rights := make([]byte, unix.CmsgSpace(4*most))
	n, size, _, _, err := conn.ReadMsgUnix(data, rights)
	messages, _ := unix.ParseSocketControlMessage(rights[:size]) // nil if malformed
	for i := range messages {
		fds, _ := unix.ParseUnixRights(&messages[i]) // nil if it has other data
		for _, fd := range fds {
			files = append(files, File{fd + 1})
		}
	}
	return n, files, err
}

// messageSize is the size of a message: uint64 number and uint32 errno. It may carry a descriptor.
const messageSize = 12

// send sends a message, with the descriptor f if f is open.
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

// receive receives a message. f is not open if the message has no descriptor.
func receive(socket File) (number uint64, errno syscall.Errno, f File, err error) {
	message, rights := make([]byte, messageSize), make([]byte, unix.CmsgSpace(4))
	for {
		n, rightsSize, _, _, err := unix.Recvmsg(
			socket.Fd(), message, rights, unix.MSG_CMSG_CLOEXEC)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return 0, 0, f, os.NewSyscallError("recvmsg", err)
		case n == 0:
			return 0, 0, f, errors.New("recvmsg: socket closed by peer")
		case n != messageSize:
			return 0, 0, f, fmt.Errorf("recvmsg: message of %d bytes, want %d", n, messageSize)
		}
		number = binary.NativeEndian.Uint64(message)
		errno = syscall.Errno(binary.NativeEndian.Uint32(message[8:]))
		return number, errno, passedFile(rights[:rightsSize]), nil
	}
}

func passedFile(rights []byte) File {
	messages, _ := unix.ParseSocketControlMessage(rights) // nil if malformed
	for i := range messages {
		if fds, err := unix.ParseUnixRights(&messages[i]); err == nil && len(fds) > 0 {
			return File{fds[0] + 1}
		}
	}
	return File{}
}
