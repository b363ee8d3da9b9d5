package sys

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// File system types (f_type of statfs(2)).
const (
	BtrfsMagic   = unix.BTRFS_SUPER_MAGIC
	XFSMagic     = unix.XFS_SUPER_MAGIC
	ExtMagic     = unix.EXT4_SUPER_MAGIC // also of ext2 and ext3
	NFSMagic     = unix.NFS_SUPER_MAGIC
	TmpfsMagic   = unix.TMPFS_MAGIC
	OverlayMagic = unix.OVERLAYFS_SUPER_MAGIC
	ProcMagic    = unix.PROC_SUPER_MAGIC
	SysfsMagic   = unix.SYSFS_MAGIC
	CgroupMagic  = unix.CGROUP_SUPER_MAGIC
	Cgroup2Magic = unix.CGROUP2_SUPER_MAGIC
)

func (f File) statfs() (st unix.Statfs_t, err error) {
	err = unix.Fstatfs(f.Fd(), &st)
	return st, os.NewSyscallError("fstatfs", err)
}

// FSType returns the type of the file system of f.
func (f File) FSType() (int64, error) {
	st, err := f.statfs()
	return int64(st.Type), err
}

// FSID returns f_fsid of statfs(2) for the file system of f. On ext4 and btrfs it is derived from
// the UUID, and so does not change with a reboot.
func (f File) FSID() ([2]int32, error) {
	st, err := f.statfs()
	return st.Fsid.Val, err
}

// xfsGeometryRequest is XFS_IOC_FSGEOMETRY_V1, and xfsGeometry a part of its result
// (ioctl_xfs_fsgeometry(2)).
const xfsGeometryRequest = 0x80705864

type xfsGeometry struct {
	_    [64]byte
	uuid [16]byte
	_    [32]byte
}

// XFSUUID returns the UUID of the XFS file system of the directory f. Unlike FSID, it does not
// change with a reboot.
func (f File) XFSUUID() ([16]byte, error) {
	file, err := f.openContent()
	if err != nil {
		return [16]byte{}, err
	}
	defer file.Close()
	var g xfsGeometry
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(file.Fd()), xfsGeometryRequest,
		uintptr(unsafe.Pointer(&g)))
	if errno != 0 {
		return [16]byte{}, os.NewSyscallError("ioctl XFS_IOC_FSGEOMETRY_V1", errno)
	}
	return g.uuid, nil
}

// SyncFS writes all changes of the file system of f to the disk.
func (f File) SyncFS() error { return os.NewSyscallError("syncfs", unix.Syncfs(f.Fd())) }
