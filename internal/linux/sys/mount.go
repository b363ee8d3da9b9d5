package sys

import (
	"errors"

	"golang.org/x/sys/unix"
)

// Flags of mount(2) and umount2(2).
const (
	MountNoSuid     = unix.MS_NOSUID
	MountNoDev      = unix.MS_NODEV
	MountNoExec     = unix.MS_NOEXEC
	MountNoAtime    = unix.MS_NOATIME
	MountNoDirAtime = unix.MS_NODIRATIME
	MountRelAtime   = unix.MS_RELATIME

	UnmountDetach = unix.MNT_DETACH
	// UnmountForce aborts a FUSE connection: pending requests fail (fuse_umount_begin() of
	// fs/fuse/inode.c).
	UnmountForce = unix.MNT_FORCE
)

// Mount calls mount(2).
func Mount(source, target, fstype string, flags uintptr, data string) error {
	return pathError("mount "+fstype, target, unix.Mount(source, target, fstype, flags, data))
}

// Unmount unmounts the topmost mount on target. It does not follow a symbolic link in the last part
// of target.
func Unmount(target string, flags int) error {
	return pathError("umount", target, unix.Unmount(target, flags|unix.UMOUNT_NOFOLLOW))
}

// UnmountAt detaches the topmost mount on path below the directory f. f may be covered by another
// mount.
func (f File) UnmountAt(path string) error {
	return Unmount(f.selfPath()+"/"+path, UnmountDetach)
}

// IsNotMounted reports whether an error of Unmount means that target is not a mount point.
func IsNotMounted(err error) bool {
	return errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT)
}

// IsBusy reports whether an error of Unmount means that the mount is in use, or one of Mount that
// the file system is.
func IsBusy(err error) bool { return errors.Is(err, unix.EBUSY) }

// IsInvalid reports whether an error of Mount means that the kernel does not accept the options.
func IsInvalid(err error) bool { return errors.Is(err, unix.EINVAL) }

// BindMountSelf bind mounts the directory at path on itself, with all mounts below it.
func BindMountSelf(path string) error { return Mount(path, path, "", unix.MS_BIND|unix.MS_REC, "") }

// BindMountOn bind mounts the directory source on target, without mounts below it, and makes the
// mount private.
func BindMountOn(source, target string) error {
	if err := Mount(source, target, "", unix.MS_BIND, ""); err != nil {
		return err
	}
	return MakePrivate(target)
}

// MakeShared makes the mount at path shared (MS_SHARED, mount_namespaces(7)).
func MakeShared(path string) error { return setPropagation(path, "MS_SHARED", unix.MS_SHARED) }

// MakePrivate makes the mount at path private (MS_PRIVATE).
func MakePrivate(path string) error { return setPropagation(path, "MS_PRIVATE", unix.MS_PRIVATE) }

func setPropagation(path, name string, flag uintptr) error {
	return pathError("mount "+name, path, unix.Mount("", path, "", flag, ""))
}
