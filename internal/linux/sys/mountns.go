package sys

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// NamespaceThread is a thread in another mount namespace. Its methods take descriptors, or a name
// in a directory, instead of paths.
type NamespaceThread struct {
	// fds is the caller's /proc/self/fd: the namespace's /proc may be missing, or of another pid
	// namespace.
	fds File
}

// InMountNamespace runs do on a thread in the mount namespace ns, an open /proc/<pid>/ns/mnt. The
// thread ends with do.
func InMountNamespace(ns File, do func(*NamespaceThread) error) error {
	fds, err := OpenDir("/proc/self/fd")
	if err != nil {
		return err
	}
	defer fds.Close()
	return onOwnThread(func() error {
		// setns(2) fails for a thread that shares its root and working directory.
		if err := unshareFS(); err != nil {
			return err
		}
		if err := unix.Setns(ns.Fd(), unix.CLONE_NEWNS); err != nil {
			return os.NewSyscallError("setns mnt", err)
		}
		return do(&NamespaceThread{fds})
	})
}

// InNewMountNamespace runs do on a thread in a new mount namespace with a copy of all mounts. What
// is mounted there is unmounted with do. Paths of do are resolved there, but /proc/self shows the
// namespace of the process.
func InNewMountNamespace(do func(*Thread) error) error {
	return onOwnThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNS); err != nil { // includes CLONE_FS
			return os.NewSyscallError("unshare CLONE_NEWNS", err)
		}
		if err := setPropagation("/", "MS_SLAVE", unix.MS_SLAVE|unix.MS_REC); err != nil {
			return err
		}
		return do(new(Thread))
	})
}

// Unmount detaches the topmost mount on name in the directory dir. It does not follow a symbolic
// link.
func (t *NamespaceThread) Unmount(dir File, name string) error {
	if err := unix.Fchdir(dir.Fd()); err != nil {
		return os.NewSyscallError("fchdir", err)
	}
	return Unmount(name, UnmountDetach)
}

// Bind bind mounts source, which must be in the thread's namespace, on target. It is for kernels
// without MoveMount.
func (t *NamespaceThread) Bind(source, target File) error {
	return t.mount("mount MS_BIND", strconv.Itoa(source.Fd()), target, unix.MS_BIND)
}

// Restrict makes the mount whose root is f nosuid, nodev, noexec and private. It is for kernels
// without RestrictMount.
func (t *NamespaceThread) Restrict(f File) error {
	if err := t.mount("mount MS_PRIVATE", "", f, unix.MS_PRIVATE); err != nil {
		return err
	}
	const flags = unix.MS_REMOUNT | unix.MS_BIND | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	return t.mount("mount MS_REMOUNT", "", f, flags)
}

// mount calls mount(2) in the directory of the caller's descriptors. op is the operation in the
// error.
func (t *NamespaceThread) mount(op, source string, target File, flags uintptr) error {
	if err := unix.Fchdir(t.fds.Fd()); err != nil {
		return os.NewSyscallError("fchdir", err)
	}
	return os.NewSyscallError(op, unix.Mount(source, strconv.Itoa(target.Fd()), "", flags, ""))
}
