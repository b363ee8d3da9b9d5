// Package idmount mounts directories so that their files are seen with the ids of a user namespace, whatever they are on the
// disk: idmapped mounts (mount_setattr(2), Linux 5.12).
package idmount

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/moby/sys/mountinfo"

	"palisade/internal/idmap"
	"palisade/internal/sys"
)

// ErrUnsupported is the error where the kernel, or the file system, cannot do it.
var ErrUnsupported = errors.New("idmapped mounts are not possible here")

// Clone makes a detached mount of the directory at src, without what is mounted in it. With a pair that is not zero its ids are
// mapped; it fails with ErrUnsupported where that cannot be.
func Clone(src string, pair idmap.Pair) (mount sys.File, err error) {
	dir, err := sys.OpenDirNoFollow(src)
	if err != nil {
		return sys.File{}, err
	}
	defer dir.Close()
	if mount, err = dir.CloneMount(); err != nil {
		if sys.IDMapUnsupported(err) {
			err = fmt.Errorf("%w: clone the mount of %s: %w (Linux 5.12 is needed)", ErrUnsupported, src, err)
		}
		return sys.File{}, err
	}
	defer func() {
		if err != nil {
			mount.Close()
			mount = sys.File{}
		}
	}()
	if !pair.IsZero() {
		if err := mapIDs(mount, src, pair); err != nil {
			return mount, err
		}
	}
	if err := mount.MakeMountPrivate(); err != nil && !sys.IsUnsupported(err) {
		return mount, err
	}
	return mount, nil
}

func mapIDs(mount sys.File, src string, pair idmap.Pair) error {
	if err := pair.Check(); err != nil {
		return err
	}
	ns, err := sys.NewUserNamespace(procText(pair.UID), procText(pair.GID))
	if err != nil {
		return fmt.Errorf("make a user namespace for %s: %w", pair, err)
	}
	defer ns.Close()
	return MapMount(mount, src, ns)
}

// MapMount has a detached mount of src show the ids of the user namespace.
func MapMount(mount sys.File, src string, ns sys.File) error {
	err := mount.IDMapMount(ns)
	if err == nil || !sys.IDMapUnsupported(err) {
		return err
	}
	return fmt.Errorf("%w: %s: %w (%s, on Linux 5.12 or later with a file system that knows them, is needed)", ErrUnsupported, src, err,
		"ext4, xfs, btrfs, tmpfs from 6.3 on, not an overlay")
}

// procText is a map as it is written to /proc/<pid>/uid_map.
func procText(m idmap.Map) string {
	var b strings.Builder
	for _, e := range m {
		fmt.Fprintf(&b, "%d %d %d\n", e.Container, e.Host, e.Size)
	}
	return b.String()
}

// Mount mounts the directory at src on the directory dst, with the ids mapped unless pair is zero.
func Mount(src, dst string, pair idmap.Pair) error {
	mount, err := Clone(src, pair)
	if err != nil {
		return err
	}
	defer mount.Close()
	return attach(mount, dst)
}

func attach(mount sys.File, dst string) error {
	target, err := sys.OpenDirNoFollow(dst)
	if err != nil {
		return err
	}
	defer target.Close()
	if err := mount.MoveMount(target, false); err != nil {
		return fmt.Errorf("mount on %s: %w", dst, err)
	}
	return nil
}

// Bind mounts the directory at src on the directory dst as it is, without what is mounted in it.
func Bind(src, dst string) error {
	err := Mount(src, dst, idmap.Pair{})
	if errors.Is(err, ErrUnsupported) {
		err = sys.BindMountOn(src, dst)
	}
	return err
}

// mountOf is the mount that the directory at path is on, and the path without symbolic links.
func mountOf(path string) (m *mountinfo.Info, real string, err error) {
	dir, err := sys.OpenDirNoFollow(path)
	if err != nil {
		return nil, "", err
	}
	defer dir.Close()
	if real, err = os.Readlink(dir.Path()); err != nil {
		return nil, "", err
	}
	id, err := dir.MountID()
	if err != nil {
		return nil, "", err
	}
	found, err := mountinfo.GetMounts(func(m *mountinfo.Info) (skip, stop bool) { return m.ID != id, m.ID == id })
	if err == nil && len(found) == 0 {
		err = fmt.Errorf("the mount of %s is in another mount namespace", path)
	}
	if err != nil {
		return nil, "", err
	}
	return found[0], real, nil
}

// IsMapped tells whether the directory is on an idmapped mount.
func IsMapped(path string) (bool, error) {
	m, _, err := mountOf(path)
	return err == nil && isMapped(m), err
}

func isMapped(m *mountinfo.Info) bool { return strings.Contains(","+m.Options+",", ",idmapped,") }

// Unmount takes the idmapped mount off the directory dst. It refuses other mounts. A container that has the mount keeps it.
func Unmount(dst string) error {
	m, real, err := mountOf(dst)
	switch {
	case err != nil:
		return err
	case m.Mountpoint != real:
		return &os.PathError{Op: "umount", Path: dst, Err: errors.New("nothing is mounted there")}
	case !isMapped(m):
		return &os.PathError{Op: "umount", Path: dst, Err: errors.New("what is mounted there is not idmapped")}
	}
	return sys.Unmount(dst, sys.UnmountDetach)
}
