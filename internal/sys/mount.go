package sys

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// Flags of mount(2) and umount2(2).
const (
	MountNoSuid = unix.MS_NOSUID
	MountNoDev  = unix.MS_NODEV
	MountNoExec = unix.MS_NOEXEC

	UnmountDetach = unix.MNT_DETACH
	// UnmountForce ends a FUSE connection: who waits for an answer gets an error (fuse_umount_begin() of fs/fuse/inode.c).
	UnmountForce = unix.MNT_FORCE
)

// Mount attaches a file system, as mount(2).
func Mount(source, target, fstype string, flags uintptr, data string) error {
	if err := unix.Mount(source, target, fstype, flags, data); err != nil {
		return &os.PathError{Op: "mount " + fstype, Path: target, Err: err}
	}
	return nil
}

// Unmount takes the topmost mount off target without following a symbolic link at its end.
func Unmount(target string, flags int) error {
	if err := unix.Unmount(target, flags|unix.UMOUNT_NOFOLLOW); err != nil {
		return &os.PathError{Op: "umount", Path: target, Err: err}
	}
	return nil
}

// IsNotMounted tells whether an error of Unmount says that nothing is mounted there.
func IsNotMounted(err error) bool { return errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) }

// BindMountOn mounts the directory at source on target, without what is mounted below it, and makes the mount private.
func BindMountOn(source, target string) error {
	if err := Mount(source, target, "", unix.MS_BIND, ""); err != nil {
		return err
	}
	return MakePrivate(target)
}

// Statfs asks the file system at path about itself, and tells nothing but whether it answered.
func Statfs(path string) error {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return &os.PathError{Op: "statfs", Path: path, Err: err}
	}
	return nil
}
