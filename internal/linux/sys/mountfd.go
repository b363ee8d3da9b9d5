package sys

import (
	"bytes"
	"errors"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// CloneMount returns a detached bind mount of the file or directory f, which may be an O_PATH
// descriptor, without mounts below it (open_tree(2), Linux 5.2). The mount is removed with its last
// descriptor, unless MoveMount attaches it.
func (f File) CloneMount() (File, error) { return f.openTree(unix.OPEN_TREE_CLONE) }

// CloneMountTree is like CloneMount, but includes all mounts below the directory f.
func (f File) CloneMountTree() (File, error) {
	return f.openTree(unix.OPEN_TREE_CLONE | unix.AT_RECURSIVE)
}

func (f File) openTree(flags uint) (File, error) {
	fd, err := unix.OpenTree(f.Fd(), "", flags|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH)
	if err != nil {
		return File{}, os.NewSyscallError("open_tree", err)
	}
	return File{fd + 1}, nil
}

// BindOn bind mounts the directory f on the directory target, for kernels without MoveMount.
func (f File) BindOn(target File) error {
	return Mount(f.selfPath(), target.selfPath(), "", unix.MS_BIND, "")
}

// moveMountBeneath is MOVE_MOUNT_BENEATH of linux/mount.h (Linux 6.5).
const moveMountBeneath = 0x200

// MoveMount attaches the detached mount f to target, which must be in the mount namespace of the
// calling thread (move_mount(2), Linux 5.2). With beneath it is attached below the mount whose root
// is target, which fails with EINVAL before Linux 6.5.
func (f File) MoveMount(target File, beneath bool) error {
	flags := unix.MOVE_MOUNT_F_EMPTY_PATH | unix.MOVE_MOUNT_T_EMPTY_PATH
	if beneath {
		flags |= moveMountBeneath
	}
	return os.NewSyscallError("move_mount", unix.MoveMount(f.Fd(), "", target.Fd(), "", flags))
}

// mountSetattr calls mount_setattr(2) for the mount f. It fails with ENOSYS before Linux 5.12. call
// is the system call in the error.
func (f File) mountSetattr(call string, attr unix.MountAttr) error {
	err := unix.MountSetattr(f.Fd(), "", unix.AT_EMPTY_PATH, &attr)
	return os.NewSyscallError(call, err)
}

// LimitVolume makes the mount f private, or a slave of that from which it was cloned: later mounts
// and unmounts there are passed on to it, and none from it (mount_namespaces(7)). With isReadOnly
// it also makes the mount read-only (Linux 5.12).
func (f File) LimitVolume(isReadOnly, isPrivate bool) error {
	attr := unix.MountAttr{Propagation: unix.MS_SLAVE}
	if isPrivate {
		attr.Propagation = unix.MS_PRIVATE
	}
	if isReadOnly {
		attr.Attr_set = unix.MOUNT_ATTR_RDONLY
	}
	return f.mountSetattr("mount_setattr", attr)
}

// MountLimits are restrictive mount options.
type MountLimits struct{ ReadOnly, NoSuid, NoDev, NoExec bool }

// LimitMount adds the options in l to the mount f, and makes it private (Linux 5.12).
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
	return f.mountSetattr("mount_setattr", attr)
}

// RestrictMount makes the mount f nosuid, nodev, noexec and private (Linux 5.12).
func (f File) RestrictMount() error {
	return f.LimitMount(MountLimits{NoSuid: true, NoDev: true, NoExec: true})
}

// IsolateMount makes the mount f private, and removes its read-only option (Linux 5.12).
func (f File) IsolateMount() error {
	return f.mountSetattr("mount_setattr", unix.MountAttr{
		Attr_clr: unix.MOUNT_ATTR_RDONLY, Propagation: unix.MS_PRIVATE,
	})
}

// MakeMountPrivate makes the mount f private (Linux 5.12).
func (f File) MakeMountPrivate() error { return f.LimitMount(MountLimits{}) }

// IDMapMount makes the detached mount f idmapped by the user namespace ns (MOUNT_ATTR_IDMAP, Linux
// 5.12). See IDMapUnsupported for its errors.
func (f File) IDMapMount(ns File) error {
	return f.mountSetattr("mount_setattr MOUNT_ATTR_IDMAP", unix.MountAttr{
		Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(ns.Fd()),
	})
}

// IDMapUnsupported reports whether an error of IDMapMount or CloneMount means that the kernel or
// the file system does not support idmapped mounts.
func IDMapUnsupported(err error) bool {
	return errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EINVAL)
}

// IsUnsupported reports whether the kernel does not have the system call.
func IsUnsupported(err error) bool { return errors.Is(err, unix.ENOSYS) }

// MountID returns the mount ID of f, as in /proc/<pid>/mountinfo. It sends no request to the file
// system. It must not be called on a NamespaceThread, which has another /proc.
func (f File) MountID() (int, error) {
	text, err := ReadFile("/proc/self/fdinfo/"+strconv.Itoa(f.Fd()), nil)
	if err != nil {
		return 0, err
	}
	for line := range bytes.Lines(text) {
		if value, ok := bytes.CutPrefix(line, []byte("mnt_id:")); ok {
			return strconv.Atoi(string(bytes.TrimSpace(value)))
		}
	}
	return 0, errors.New("parse fdinfo: no mnt_id")
}
