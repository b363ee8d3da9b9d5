package sys

import (
	"bytes"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"palisade/internal/linux/ktext"
)

// Requests of linux/nsfs.h (Linux 6.11).
const (
	// nsGetPidFromPidNS is NS_GET_PID_FROM_PIDNS, _IOR(0xb7, 6, int).
	nsGetPidFromPidNS = 0x8004b706
	// nsGetPidInPidNS is NS_GET_PID_IN_PIDNS, _IOR(0xb7, 8, int).
	nsGetPidInPidNS = 0x8004b708
)

// NamespaceInit returns the pid of the init of the pid namespace f, an open /proc/<pid>/ns/pid. It
// fails with ENOTTY before Linux 6.11, and with ESRCH if the init has ended or is not visible in
// this pid namespace.
func (f File) NamespaceInit() (int, error) {
	return f.PIDFromNamespace(1)
}

// PIDFromNamespace returns the pid in this pid namespace of the thread that has the pid number in the
// pid namespace f. It fails as NamespaceInit.
func (f File) PIDFromNamespace(number int) (int, error) {
	return f.translatePID("NS_GET_PID_FROM_PIDNS", nsGetPidFromPidNS, number)
}

// PIDInNamespace returns the pid in the pid namespace f of the thread tid. It fails with ENOTTY
// before Linux 6.11, and with ESRCH if there is no such thread.
func (f File) PIDInNamespace(tid int) (int, error) {
	return f.translatePID("NS_GET_PID_IN_PIDNS", nsGetPidInPidNS, tid)
}

func (f File) translatePID(name string, request uintptr, pid int) (int, error) {
	result, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(f.Fd()), request, uintptr(pid))
	if errno != 0 {
		return 0, os.NewSyscallError("ioctl "+name, errno)
	}
	return int(result), nil
}

// ParentNamespace opens the parent of the pid or user namespace f (ioctl_ns(2)). It fails with
// EPERM if the parent is outside of the caller's namespace, and with ENOTTY without the ioctl.
func (f File) ParentNamespace() (File, error) {
	return f.relatedNamespace("NS_GET_PARENT", unix.NS_GET_PARENT)
}

// UserNamespace opens the user namespace that owns the namespace f. It fails as ParentNamespace.
func (f File) UserNamespace() (File, error) {
	return f.relatedNamespace("NS_GET_USERNS", unix.NS_GET_USERNS)
}

func (f File) relatedNamespace(name string, request uint) (File, error) {
	related, err := openFile(func() (int, error) {
		return unix.IoctlRetInt(f.Fd(), request) // the kernel sets close-on-exec
	})
	return related, os.NewSyscallError("ioctl "+name, err)
}

// Creator returns the user who created the user namespace to which the namespace belongs that f
// names: of those around it, the one directly below the caller's. It is root if the namespace
// belongs to the caller's own, and without the ioctl.
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
		uid, err = unix.IoctlGetUint32(at.Fd(), unix.NS_GET_OWNER_UID)
		at.Close()
		at = parent
		if err != nil {
			return 0, os.NewSyscallError("ioctl NS_GET_OWNER_UID", err)
		}
	}
}

// IsUnknownNamespace reports whether an error of ParentNamespace or UserNamespace is that the
// namespace is outside the caller's, or that the kernel lacks the ioctl.
func IsUnknownNamespace(err error) bool {
	return errors.Is(err, unix.ENOTTY) || errors.Is(err, unix.EPERM)
}

// ReadNamespace returns the inode number of the namespace to which a link below the directory f
// leads, such as ns/pid: "pid:[4026531836]" (namespaces(7)). path must end with a NUL byte. buf
// holds the link.
func (f File) ReadNamespace(path, buf []byte) (uint64, error) {
	link, err := f.ReadlinkAt(path, buf)
	if err != nil {
		return 0, err
	}
	_, digits, _ := bytes.Cut(link, []byte(":["))
	inode, ok := ktext.Number(bytes.TrimSuffix(digits, []byte("]")))
	if !ok {
		return 0, fmt.Errorf("parse namespace link %q", link)
	}
	return inode, nil
}

// InCgroupNamespace runs do on a thread in the cgroup namespace ns, an open /proc/<pid>/ns/cgroup.
// The thread ends with do.
func InCgroupNamespace(ns File, do func()) error {
	return onOwnThread(func() error {
		if err := unix.Setns(ns.Fd(), unix.CLONE_NEWCGROUP); err != nil {
			return os.NewSyscallError("setns cgroup", err)
		}
		do()
		return nil
	})
}
