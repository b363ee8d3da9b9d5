// Package idmount makes idmapped mounts (mount_setattr(2), Linux 5.12). Those through which files of
// the host's root are written are made only of what other users of the host cannot reach.
//
// Reading order: location (the paths to a directory, also by layers of overlays); reach and
// processes (who can use them); private; idmount; volume (the root file system and the volumes of a
// container).
package idmount

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"github.com/moby/sys/mountinfo"

	"palisade/internal/linux/sys"
	"palisade/internal/oci/idmap"
	"palisade/internal/userns/walk"
)

// ErrUnsupported is the error if the kernel or the file system does not support idmapped mounts.
var ErrUnsupported = errors.New("idmapped mounts are not possible here")

// CanShift reports whether err is the error of a directory that cannot be idmapped, but shifted.
func CanShift(err error) bool {
	_, isReachable := errors.AsType[*ReachableError](err)
	return isReachable || errors.Is(err, ErrUnsupported)
}

// clone opens the directory at src and creates a detached mount of it, without submounts. The
// caller closes both.
func clone(src string) (dir, mount sys.File, err error) {
	if dir, err = sys.OpenDirNoFollow(src); err != nil {
		return dir, mount, err
	}
	if mount, err = cloneDir(dir, src); err != nil {
		dir.Close()
	}
	return dir, mount, err
}

func cloneDir(dir sys.File, src string) (sys.File, error) {
	mount, err := dir.CloneMount()
	if err != nil && sys.IDMapUnsupported(err) {
		err = fmt.Errorf("%w: clone the mount of %s: %w (requires Linux 5.12)",
			ErrUnsupported, src, err)
	}
	return mount, err
}

// Probe fails with ErrUnsupported if the directory at path cannot be idmapped with the pair. With a
// zero pair it only clones the mount.
func Probe(path string, pair idmap.Pair) error {
	dir, mount, err := clone(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	defer mount.Close()
	if pair.IsZero() {
		return nil
	}
	return mapIDs(mount, path, pair)
}

func mapIDs(mount sys.File, src string, pair idmap.Pair) error {
	var namespaces Namespaces
	defer namespaces.Close()
	ns, err := namespaces.Get(pair)
	if err != nil {
		return err
	}
	return mapMount(mount, src, ns)
}

// MapLayer covers the directory at path with a read-only mount of it, idmapped to the user
// namespace, in the mount namespace of the calling thread. It need not be private, since nothing can
// be written through that mount. It fails as Mount does.
func MapLayer(path string, ns sys.File) error {
	dir, err := sys.OpenDir(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	mount, err := cloneDir(dir, path)
	if err != nil {
		return err
	}
	defer mount.Close()
	if err := mapMount(mount, path, ns); err != nil {
		return err
	}
	if err := mount.LimitMount(sys.MountLimits{ReadOnly: true}); err != nil {
		return err
	}
	return mount.MoveMount(dir, false)
}

// mapMount idmaps the detached mount of src to the user namespace.
func mapMount(mount sys.File, src string, ns sys.File) error {
	err := mount.IDMapMount(ns)
	if err == nil || !sys.IDMapUnsupported(err) {
		return err
	}
	return fmt.Errorf("%w: %s: %w (requires Linux 5.12 and ext4 or xfs, 5.15 and btrfs, "+
		"or 6.3 and tmpfs)", ErrUnsupported, src, err)
}

// MapOver mounts the directory at path over itself, idmapped to the user namespace, including its
// submounts. The path is resolved in the calling thread's mount namespace, which may differ from
// the one in which OpenPrivate checked the directory.
func (p *Private) MapOver(path string, ns sys.File) error {
	dir, err := sys.OpenDirNoFollow(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	i, err := dir.Statx()
	if err != nil {
		return err
	}
	if walk.KeyOf(&i) != walk.KeyOf(&p.at.inode) {
		return fmt.Errorf("%s is a different directory in the container's mount namespace", path)
	}
	mount, err := dir.CloneMountTree()
	if err != nil {
		return err
	}
	defer mount.Close()
	if err := mapMount(mount, path, ns); err != nil {
		return err
	}
	return mount.MoveMount(dir, false)
}

// mappings converts a map for sys.NewUserNamespace.
func mappings(m idmap.Map) (maps []syscall.SysProcIDMap) {
	for _, e := range m {
		maps = append(maps, syscall.SysProcIDMap{
			ContainerID: int(e.Container), HostID: int(e.Host), Size: int(e.Size),
		})
	}
	return maps
}

// Mount mounts the directory at src on the directory dst, idmapped with the pair. It fails with
// ErrUnsupported if the kernel or the file system cannot do this, and as OpenPrivate does.
func Mount(src, dst string, pair idmap.Pair, check LinkCheck) error {
	dir, mount, err := clone(src)
	if err != nil {
		return err
	}
	defer dir.Close()
	defer mount.Close()
	if err := mapIDs(mount, src, pair); err != nil {
		return err
	}
	if _, err := newPrivate(dir, check); err != nil {
		return err
	}
	return attach(mount, dst)
}

func attach(mount sys.File, dst string) error {
	if err := mount.MakeMountPrivate(); err != nil && !sys.IsUnsupported(err) {
		return err
	}
	target, err := sys.OpenDirNoFollow(dst)
	if err != nil {
		return err
	}
	defer target.Close()
	return moveTo(mount, target, dst)
}

func moveTo(mount, target sys.File, dst string) error {
	if err := mount.MoveMount(target, false); err != nil {
		return fmt.Errorf("mount on %s: %w", dst, err)
	}
	return nil
}

// Bind bind mounts the directory at src on the directory dst, without submounts.
func Bind(src, dst string) error {
	dir, mount, err := clone(src)
	if errors.Is(err, ErrUnsupported) {
		return sys.BindMountOn(src, dst)
	}
	if err != nil {
		return err
	}
	defer dir.Close()
	defer mount.Close()
	return attach(mount, dst)
}

func locatePath(path string) (location, error) {
	dir, err := sys.OpenDirNoFollow(path)
	if err != nil {
		return location{}, err
	}
	defer dir.Close()
	table, err := mountinfo.GetMounts(nil)
	if err != nil {
		return location{}, fmt.Errorf("read the mount table: %w", err)
	}
	return locate(dir, table)
}

// IsMapped reports whether the directory at path is on an idmapped mount.
func IsMapped(path string) (bool, error) {
	at, err := locatePath(path)
	return err == nil && isMapped(at.mount), err
}

// Unmount unmounts the idmapped mount on the directory dst. It refuses other mounts. Mount
// namespaces with a copy of the mount keep it.
func Unmount(dst string) error {
	at, err := locatePath(dst)
	switch {
	case err != nil:
		return err
	case at.mount.Mountpoint != at.host:
		return &os.PathError{Op: "umount", Path: dst, Err: errors.New("nothing is mounted there")}
	case !isMapped(at.mount):
		return &os.PathError{Op: "umount", Path: dst, Err: errors.New("mount is not idmapped")}
	}
	return sys.Unmount(dst, sys.UnmountDetach)
}
