package sys

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// NewUserNamespace makes a user namespace with the maps, in the form of /proc/<pid>/uid_map (user_namespaces(7)), and returns
// it open: it lasts as long as it is. Its first process, a fork that executes no program, is gone by then.
func NewUserNamespace(uidMap, gidMap string) (ns File, err error) {
	pid, errno := forkPaused(unix.CLONE_NEWUSER)
	if errno != 0 {
		return File{}, os.NewSyscallError("clone CLONE_NEWUSER", errno)
	}
	defer func() {
		unix.Kill(pid, unix.SIGKILL) // it is ours, not waited for yet
		reap(pid)                    // it was killed, as is wanted
	}()
	dir := "/proc/" + strconv.Itoa(pid) + "/"
	for name, text := range map[string]string{"uid_map": uidMap, "gid_map": gidMap} {
		if err := os.WriteFile(dir+name, []byte(text), 0); err != nil {
			return File{}, fmt.Errorf("%w (the map is %q)", err, text)
		}
	}
	return Open(dir + "ns/user")
}

// forkPaused makes a process in new namespaces that waits until it is killed. In it only raw system calls are possible, see
// forkReader.
//
//go:norace
//go:noinline
func forkPaused(flags uintptr) (pid int, errno unix.Errno) {
	child, _, errno := unix.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD)|flags, 0, 0, 0, 0, 0)
	if errno != 0 || child != 0 {
		return int(child), errno
	}
	// It ends with its parent, and holds nothing of it open.
	unix.RawSyscall6(unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0, 0)
	unix.RawSyscall(unix.SYS_CLOSE_RANGE, 0, uintptr(^uint32(0)), 0)
	for {
		unix.RawSyscall6(unix.SYS_PPOLL, 0, 0, 0, 0, 0, 0)
	}
}

// IDMapMount has the mount f, from CloneMount, show its files with the ids of the user namespace instead of those on the disk:
// mount_setattr(2) with MOUNT_ATTR_IDMAP, Linux 5.12. See IDMapUnsupported for how it fails.
func (f File) IDMapMount(ns File) error {
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(ns.Fd())}
	return os.NewSyscallError("mount_setattr MOUNT_ATTR_IDMAP", unix.MountSetattr(f.Fd(), "", unix.AT_EMPTY_PATH, &attr))
}

// IDMapUnsupported tells whether an error of IDMapMount or CloneMount says that the kernel or the file system cannot do it.
func IDMapUnsupported(err error) bool {
	return errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EINVAL)
}

// IsUnsupported tells whether the kernel does not have the system call.
func IsUnsupported(err error) bool { return errors.Is(err, unix.ENOSYS) }

// IsolateMount makes the mount f, from CloneMount, private, and writable as far as its file system is: mount_setattr(2),
// Linux 5.12. It fails with ENOSYS before.
func (f File) IsolateMount() error {
	attr := unix.MountAttr{Attr_clr: unix.MOUNT_ATTR_RDONLY, Propagation: unix.MS_PRIVATE}
	return os.NewSyscallError("mount_setattr", unix.MountSetattr(f.Fd(), "", unix.AT_EMPTY_PATH, &attr))
}

// MakeMountPrivate makes the mount f, from CloneMount, private: mount_setattr(2), Linux 5.12. It fails with ENOSYS before.
func (f File) MakeMountPrivate() error {
	attr := unix.MountAttr{Propagation: unix.MS_PRIVATE}
	return os.NewSyscallError("mount_setattr", unix.MountSetattr(f.Fd(), "", unix.AT_EMPTY_PATH, &attr))
}

// CloneMountTree makes a detached mount of the directory f with all that is mounted below it, as CloneMount.
func (f File) CloneMountTree() (File, error) {
	fd, err := unix.OpenTree(f.Fd(), "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH|unix.AT_RECURSIVE)
	if err != nil {
		return File{}, os.NewSyscallError("open_tree", err)
	}
	return File{fd + 1}, nil
}

// File systems of which something is to be known (statfs(2), f_type).
const (
	OverlayMagic = unix.OVERLAYFS_SUPER_MAGIC
	BtrfsMagic   = unix.BTRFS_SUPER_MAGIC
	XFSMagic     = unix.XFS_SUPER_MAGIC
	ExtMagic     = unix.EXT4_SUPER_MAGIC // also of ext2 and ext3
	NFSMagic     = unix.NFS_SUPER_MAGIC
	TmpfsMagic   = unix.TMPFS_MAGIC
	ProcMagic    = unix.PROC_SUPER_MAGIC
	SysfsMagic   = unix.SYSFS_MAGIC
	CgroupMagic  = unix.CGROUP_SUPER_MAGIC
	Cgroup2Magic = unix.CGROUP2_SUPER_MAGIC
)

// FSType is the kind of file system that f is on.
func (f File) FSType() (int64, error) {
	var st unix.Statfs_t
	if err := unix.Fstatfs(f.Fd(), &st); err != nil {
		return 0, os.NewSyscallError("fstatfs", err)
	}
	return int64(st.Type), nil
}

// FSID returns f_fsid of statfs(2) for the file system of f. On ext4 and btrfs it is derived from
// the UUID, and so does not change with a reboot.
func (f File) FSID() ([2]int32, error) {
	var st unix.Statfs_t
	if err := unix.Fstatfs(f.Fd(), &st); err != nil {
		return [2]int32{}, os.NewSyscallError("fstatfs", err)
	}
	return st.Fsid.Val, nil
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

// MissingCapabilities are the names of those of the capabilities that a shift of ownership takes which this process does not
// have (capabilities(7)).
func MissingCapabilities() ([]string, error) {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var own [2]unix.CapUserData
	if err := unix.Capget(&header, &own[0]); err != nil {
		return nil, os.NewSyscallError("capget", err)
	}
	var missing []string
	for _, c := range []struct {
		number int
		name   string
	}{
		{unix.CAP_CHOWN, "CAP_CHOWN"}, {unix.CAP_DAC_OVERRIDE, "CAP_DAC_OVERRIDE"}, {unix.CAP_FOWNER, "CAP_FOWNER"},
		{unix.CAP_FSETID, "CAP_FSETID"}, {unix.CAP_SETFCAP, "CAP_SETFCAP"}, {unix.CAP_SYS_ADMIN, "CAP_SYS_ADMIN"},
	} {
		if own[c.number/32].Effective&(1<<(c.number%32)) == 0 {
			missing = append(missing, c.name)
		}
	}
	return missing, nil
}
