package sys

import (
	"errors"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// nsGetPidFromPidNS is NS_GET_PID_FROM_PIDNS of linux/nsfs.h, _IOR(0xb7, 6, int), Linux 6.11: what the process that is
// called 1 inside a pid namespace is called in the caller's.
const nsGetPidFromPidNS = 0x8004b706

// NamespaceInit asks the kernel for the pid of the init of the pid namespace that f, an open /proc/<pid>/ns/pid, names.
// It fails with ENOTTY before Linux 6.11, and with ESRCH where the init is gone or not to be seen from here.
func (f File) NamespaceInit() (int, error) {
	pid, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(f.Fd()), nsGetPidFromPidNS, 1)
	if errno != 0 {
		return 0, os.NewSyscallError("ioctl NS_GET_PID_FROM_PIDNS", errno)
	}
	return int(pid), nil
}

// nsGetPidInPidNS is NS_GET_PID_IN_PIDNS, _IOR(0xb7, 8, int), Linux 6.11: the other way round.
const nsGetPidInPidNS = 0x8004b708

// PIDInNamespace asks the kernel what the thread that is called tid here is called in the pid namespace that f names. It
// fails with ENOTTY before Linux 6.11, and with ESRCH where there is no such thread.
func (f File) PIDInNamespace(tid int) (int, error) {
	pid, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(f.Fd()), nsGetPidInPidNS, uintptr(tid))
	if errno != 0 {
		return 0, os.NewSyscallError("ioctl NS_GET_PID_IN_PIDNS", errno)
	}
	return int(pid), nil
}

// ParentNamespace opens the pid or user namespace around the one that f names (ioctl_ns(2), Linux 4.9). It fails with EPERM
// where that is not to be seen from here, and with ENOTTY on older kernels.
func (f File) ParentNamespace() (File, error) {
	return f.relatedNamespace("NS_GET_PARENT", unix.NS_GET_PARENT)
}

// UserNamespace opens the user namespace to which the namespace belongs that f names. It fails as ParentNamespace does.
func (f File) UserNamespace() (File, error) {
	return f.relatedNamespace("NS_GET_USERNS", unix.NS_GET_USERNS)
}

func (f File) relatedNamespace(name string, request uintptr) (File, error) {
	related, err := openFile(func() (int, error) {
		fd, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(f.Fd()), request, 0)
		if errno != 0 {
			return 0, errno
		}
		return int(fd), nil // the kernel makes it close-on-exec
	})
	return related, os.NewSyscallError("ioctl "+name, err)
}

// NamespaceOwner is the user who has made the user namespace that f names (ioctl_ns(2), NS_GET_OWNER_UID, Linux 4.11).
func (f File) NamespaceOwner() (uid uint32, err error) {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(f.Fd()), unix.NS_GET_OWNER_UID, uintptr(unsafe.Pointer(&uid)))
	if errno != 0 {
		return 0, os.NewSyscallError("ioctl NS_GET_OWNER_UID", errno)
	}
	return uid, nil
}

// Creator returns the user who created the user namespace to which the namespace belongs that f
// names: of those around it, the one directly below the caller's. It is root if the namespace
// belongs to the caller's own, and before Linux 4.9.
func (f File) Creator() (uid uint32, err error) {
	at, err := f.UserNamespace()
	if IsUnknownNamespace(err) {
		return 0, nil
	} else if err != nil {
		return 0, err
	}
	defer func() { at.Close() }()
	for {
		parent, err := at.ParentNamespace()
		if IsUnknownNamespace(err) {
			return uid, nil
		} else if err != nil {
			return 0, err
		}
		uid, err = at.NamespaceOwner()
		at.Close()
		at = parent
		if err != nil {
			return 0, err
		}
	}
}

// IsUnknownNamespace reports whether an error of ParentNamespace or UserNamespace is that the
// namespace is outside the caller's, or that the kernel lacks the ioctl.
func IsUnknownNamespace(err error) bool {
	return errors.Is(err, unix.ENOTTY) || errors.Is(err, unix.EPERM)
}

// Inode is the inode number of f: that of an open namespace is the namespace's.
func (f File) Inode() (uint64, error) {
	var st unix.Stat_t
	if err := unix.Fstat(f.Fd(), &st); err != nil {
		return 0, os.NewSyscallError("fstat", err)
	}
	return st.Ino, nil
}

// ReadlinkAt reads the symbolic link at path, which must end with a NUL byte, below the directory f into buf, and
// returns the part of buf that it fills. It allocates nothing but its error.
func (f File) ReadlinkAt(path, buf []byte) ([]byte, error) {
	if len(path) == 0 || path[len(path)-1] != 0 || len(buf) == 0 {
		return nil, os.NewSyscallError("readlinkat", unix.EINVAL)
	}
	n, _, errno := unix.Syscall6(unix.SYS_READLINKAT, uintptr(f.Fd()), uintptr(unsafe.Pointer(&path[0])),
		uintptr(unsafe.Pointer(&buf[0])), uintptr(len(buf)), 0, 0)
	if errno != 0 {
		return nil, os.NewSyscallError("readlinkat", errno)
	}
	return buf[:n], nil
}

// OpenPidfd opens a pidfd of the process (Linux 5.3): it is readable once the process is gone.
func OpenPidfd(pid int) (File, error) {
	f, err := openFile(func() (int, error) { return unix.PidfdOpen(pid, 0) })
	return f, os.NewSyscallError("pidfd_open", err)
}

// SignalUpgrade is SIGUSR1, on which lxcfs starts a fresh worker.
const SignalUpgrade = unix.SIGUSR1

// SendSignal sends a signal to the process of a pidfd.
func (f File) SendSignal(s unix.Signal) error {
	return os.NewSyscallError("pidfd_send_signal", unix.PidfdSendSignal(f.Fd(), s, nil, 0))
}

// InCgroupNamespace runs do on a thread that is in the cgroup namespace ns, an open /proc/<pid>/ns/cgroup, and nowhere
// else. The thread ends with it.
func InCgroupNamespace(ns File, do func()) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the runtime ends the thread with the goroutine
		if err := unix.Setns(ns.Fd(), unix.CLONE_NEWCGROUP); err != nil {
			done <- os.NewSyscallError("setns cgroup", err)
			return
		}
		do()
		done <- nil
	}()
	return <-done
}
