package sys

import (
	"os"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Peer is the process that has connected to a unix socket, with its credentials at that time.
type Peer struct {
	// PID is 0 if the process is not visible in this pid namespace.
	PID int
	// UID and GID are the effective ids, or the overflow ids if they have none in this user
	// namespace.
	UID, GID uint32
	// Groups are the supplementary groups. They are empty before Linux 4.13.
	Groups []uint32
	// Pinned reports that Dir belongs to the process. Before Linux 6.5, or if a seccomp filter blocks
	// SO_PEERPIDFD, another process may have reused the pid since the connection.
	Pinned bool
	// Dir is the directory of the process in /proc. Reads through it fail with ESRCH after the
	// process has ended. It must be closed.
	Dir File
}

// OpenPeer returns the peer of a connection. It fails with ESRCH if the process has ended.
func OpenPeer(conn syscall.Conn) (p Peer, err error) {
	var pidfd File
	err = control(conn, "getsockopt", func(fd uintptr) error {
		cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
		if err != nil {
			return err
		}
		p.PID, p.UID, p.GID = int(cred.Pid), cred.Uid, cred.Gid
		if p.Groups, err = peerGroups(fd); err != nil && err != unix.ENOPROTOOPT {
			return err
		}
		switch n, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PEERPIDFD); err {
		case nil:
			pidfd.fd = n + 1
		case unix.EINVAL:
			return unix.ESRCH // before Linux 6.16
		case unix.ENOPROTOOPT:
		default:
			return err
		}
		return nil
	})
	if err != nil || p.PID == 0 {
		pidfd.Close()
		return p, err
	}
	defer pidfd.Close()
	if p.Dir, err = OpenDir("/proc/" + strconv.Itoa(p.PID)); err != nil {
		return p, err
	}
	p.Pinned = pidfd.fd != 0
	if p.Pinned && pidfd.Ready() {
		p.Dir.Close()
		return p, os.NewSyscallError("getsockopt SO_PEERPIDFD", unix.ESRCH)
	}
	return p, nil
}

// PeerUID returns the effective uid of the process that has connected, also if it has ended.
func PeerUID(conn syscall.Conn) (uid uint32, err error) {
	err = control(conn, "getsockopt SO_PEERCRED", func(fd uintptr) error {
		cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
		if err == nil {
			uid = cred.Uid
		}
		return err
	})
	return uid, err
}

// peerGroups returns SO_PEERGROUPS (Linux 4.13).
func peerGroups(fd uintptr) ([]uint32, error) {
	groups := make([]uint32, 64)
	for {
		size := uint32(len(groups) * 4)
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_PEERGROUPS,
			uintptr(unsafe.Pointer(&groups[0])), uintptr(unsafe.Pointer(&size)), 0)
		n := int(size) / 4
		switch {
		case errno == 0:
			return groups[:n], nil
		case errno == unix.ERANGE && n > len(groups):
			groups = make([]uint32, n)
		default:
			return nil, errno
		}
	}
}
