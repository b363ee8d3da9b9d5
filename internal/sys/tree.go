package sys

import (
	"bytes"
	"errors"
	"os"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// moveMountBeneath is MOVE_MOUNT_BENEATH of linux/mount.h.
const moveMountBeneath = 0x200

// CloneMount makes a detached mount of the file or directory f, which may have been opened by OpenPathAt, without what is
// mounted below it: open_tree(2), Linux 5.2. It goes away with its last descriptor unless MoveMount attaches it.
func (f File) CloneMount() (File, error) {
	fd, err := unix.OpenTree(f.Fd(), "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH)
	if err != nil {
		return File{}, os.NewSyscallError("open_tree", err)
	}
	return File{fd + 1}, nil
}

// MoveMount attaches the mount f, from CloneMount, to target: move_mount(2), Linux 5.2. target is to be in the mount
// namespace of the calling thread. With beneath it goes under the mount whose root target is (Linux 6.5), which fails
// with EINVAL where the kernel cannot do it.
func (f File) MoveMount(target File, beneath bool) error {
	flags := unix.MOVE_MOUNT_F_EMPTY_PATH | unix.MOVE_MOUNT_T_EMPTY_PATH
	if beneath {
		flags |= moveMountBeneath
	}
	return os.NewSyscallError("move_mount", unix.MoveMount(f.Fd(), "", target.Fd(), "", flags))
}

// RestrictMount makes the mount f nosuid, nodev, noexec and private: mount_setattr(2), Linux 5.12.
func (f File) RestrictMount() error {
	return f.LimitMount(MountLimits{NoSuid: true, NoDev: true, NoExec: true})
}

// MountLimits are options of a mount that take something from it.
type MountLimits struct{ ReadOnly, NoSuid, NoDev, NoExec bool }

// LimitMount gives the mount f the options in l besides those it has, and makes it private:
// mount_setattr(2), Linux 5.12.
func (f File) LimitMount(l MountLimits) error {
	attr := unix.MountAttr{Propagation: unix.MS_PRIVATE}
	for flag, set := range map[uint64]bool{
		unix.MOUNT_ATTR_RDONLY: l.ReadOnly, unix.MOUNT_ATTR_NOSUID: l.NoSuid,
		unix.MOUNT_ATTR_NODEV: l.NoDev, unix.MOUNT_ATTR_NOEXEC: l.NoExec,
	} {
		if set {
			attr.Attr_set |= flag
		}
	}
	return os.NewSyscallError("mount_setattr", unix.MountSetattr(f.Fd(), "", unix.AT_EMPTY_PATH, &attr))
}

// MountID is the number of the mount that f is on, as in /proc/<pid>/mountinfo. It asks the file system
// nothing. It is not to be called on a NamespaceThread, which has another /proc.
func (f File) MountID() (int, error) {
	text, err := ReadFile("/proc/self/fdinfo/"+strconv.Itoa(f.Fd()), nil)
	if err != nil {
		return 0, err
	}
	return parseMountID(text)
}

// parseMountID finds the line "mnt_id:" of /proc/<pid>/fdinfo/<fd> (proc(5)).
func parseMountID(text []byte) (int, error) {
	for line := range bytes.Lines(text) {
		if value, ok := bytes.CutPrefix(line, []byte("mnt_id:")); ok {
			return strconv.Atoi(string(bytes.TrimSpace(value)))
		}
	}
	return 0, errors.New("parse fdinfo: no mnt_id")
}

// OpenPathAt gets a hold of the file name below the directory f without opening it: what it says of itself is not asked
// for, and a symbolic link at its end is not followed.
func (f File) OpenPathAt(name string) (File, error) {
	return openat(f.Fd(), name, unix.O_PATH|unix.O_NOFOLLOW)
}

// OpenPath gets a hold of the file at path in the same way, but follows a symbolic link at its end.
func OpenPath(path string) (File, error) { return openat(unix.AT_FDCWD, path, unix.O_PATH) }

// NamespaceThread is a thread in another mount namespace. Its methods name files by descriptors, or by a name in a
// directory that is given as one.
type NamespaceThread struct {
	// fds is the caller's /proc/self/fd, since the namespace's /proc may show none, or another process's.
	fds File
}

// InMountNamespace runs do on a thread that is in the mount namespace ns, an open /proc/<pid>/ns/mnt, and ends with it.
func InMountNamespace(ns File, do func(*NamespaceThread) error) error {
	fds, err := OpenDir("/proc/self/fd")
	if err != nil {
		return err
	}
	defer fds.Close()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the runtime ends the thread with the goroutine
		done <- enterMountNamespace(ns, func() error { return do(&NamespaceThread{fds}) })
	}()
	return <-done
}

func enterMountNamespace(ns File, do func() error) error {
	// A thread that shares its root and working directory with others may not change the namespace.
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return os.NewSyscallError("unshare CLONE_FS", err)
	}
	if err := unix.Setns(ns.Fd(), unix.CLONE_NEWNS); err != nil {
		return os.NewSyscallError("setns mnt", err)
	}
	return do()
}

// Unmount detaches the topmost mount on name, in the directory dir; a symbolic link is not followed.
func (t *NamespaceThread) Unmount(dir File, name string) error {
	if err := unix.Fchdir(dir.Fd()); err != nil {
		return os.NewSyscallError("fchdir", err)
	}
	return Unmount(name, UnmountDetach)
}

// Bind mounts source, which is to be in the thread's namespace, on target: mount(2) with MS_BIND, for kernels without
// MoveMount.
func (t *NamespaceThread) Bind(source, target File) error {
	if err := unix.Fchdir(t.fds.Fd()); err != nil {
		return os.NewSyscallError("fchdir", err)
	}
	err := unix.Mount(strconv.Itoa(source.Fd()), strconv.Itoa(target.Fd()), "", unix.MS_BIND, "")
	return os.NewSyscallError("mount MS_BIND", err)
}

// Restrict makes the mount whose root is f nosuid, nodev, noexec and private, for kernels without RestrictMount.
func (t *NamespaceThread) Restrict(f File) error {
	if err := unix.Fchdir(t.fds.Fd()); err != nil {
		return os.NewSyscallError("fchdir", err)
	}
	path := strconv.Itoa(f.Fd())
	if err := unix.Mount("", path, "", unix.MS_PRIVATE, ""); err != nil {
		return os.NewSyscallError("mount MS_PRIVATE", err)
	}
	flags := unix.MS_REMOUNT | unix.MS_BIND | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	return os.NewSyscallError("mount MS_REMOUNT", unix.Mount("", path, "", uintptr(flags), ""))
}

// MakeShared makes the mount at path one that passes on what is mounted below it (MS_SHARED, mount_namespaces(7)).
func MakeShared(path string) error {
	if err := unix.Mount("", path, "", unix.MS_SHARED, ""); err != nil {
		return &os.PathError{Op: "mount MS_SHARED", Path: path, Err: err}
	}
	return nil
}

// BindMount mounts the directory at path on itself, with all that is mounted below it.
func BindMount(path string) error { return Mount(path, path, "", unix.MS_BIND|unix.MS_REC, "") }

// BindOn mounts the directory f on target: mount(2) with MS_BIND, for kernels without MoveMount.
func (f File) BindOn(target File) error {
	return Mount(f.fdPath(), target.fdPath(), "", unix.MS_BIND, "")
}

// UnmountAt detaches the topmost mount on the path below the directory f, which may be hidden by a mount on it.
func (f File) UnmountAt(path string) error {
	return Unmount(f.fdPath()+"/"+path, UnmountDetach)
}

// MakePrivate makes the mount at path one that passes nothing on (MS_PRIVATE).
func MakePrivate(path string) error {
	if err := unix.Mount("", path, "", unix.MS_PRIVATE, ""); err != nil {
		return &os.PathError{Op: "mount MS_PRIVATE", Path: path, Err: err}
	}
	return nil
}
