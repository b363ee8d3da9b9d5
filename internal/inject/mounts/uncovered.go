package mounts

import (
	"cmp"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"syscall"

	"palisade/internal/linux/sys"
)

// The kernel permits a procfs or sysfs in a nested user namespace only if the mount namespace has
// one already without mounts on its files (mount_too_revealing() in fs/namespace.c). The mounts of
// lxcfs prevent that. So a container whose own procfs has no other mounts gets a second one without
// any, called uncovered here, as LXC mounts one on /dev/.lxc/proc. A container with masked paths
// gets none. A runtime masks paths after its hooks, so Put waits until the runtime is done, unless
// it is known to mask nothing. The second procfs need not be reachable, and must not be: AppArmor
// profiles deny access to files of /proc by path. A bind mount of the directory on itself covers
// it.

// uncoveredDir is the directory of the uncovered procfs and sysfs on the tmpfs that is the
// container's /dev. Its name lacks "lxcfs", so that "mount | grep lxcfs" lists only the files of
// lxcfs.
const (
	devDir       = "dev"
	uncoveredDir = ".palisade"
)

// emptyMountpoints are the directories of procfs and sysfs that are always empty, so that a mount
// on one covers nothing (proc_create_mount_point(), sysfs_create_mount_point()).
var emptyMountpoints = map[string][]string{
	"proc": {"fs/nfsd", "sys/fs/binfmt_misc"},
	"sysfs": {
		"firmware/efi/efivars", "fs/bpf", "fs/cgroup", "fs/fuse/connections", "fs/pstore",
		"fs/selinux", "fs/smackfs", "kernel/config", "kernel/debug", "kernel/security",
		"kernel/tracing",
	},
}

// isVisible reports whether the procfs or sysfs m has no mounts that hide a part of it, except
// those that ignore accepts.
func (t *Table) isVisible(m *Mount, ignore func(*Mount) bool) bool {
	return !slices.ContainsFunc(t.on[m.ID], func(child *Mount) bool {
		name := strings.TrimPrefix(child.Mountpoint, m.Mountpoint+"/")
		return child.ID != m.ID && !slices.Contains(emptyMountpoints[m.FSType], name) &&
			!ignore(child)
	})
}

// lacksVisible reports whether only lxcfs covers files of the procfs or sysfs base, and no other
// instance below root is visible.
func (t *Table) lacksVisible(base *Mount, root string) bool {
	none := func(*Mount) bool { return false }
	if t.isVisible(base, none) || !t.isVisible(base, t.isLxcfs) {
		return false
	}
	return !slices.ContainsFunc(t.all, func(m *Mount) bool {
		return m.FSType == base.FSType && m.Root == "/" && isBelow(m.Mountpoint, root) &&
			t.isVisible(m, none) && (isReadOnly(base) || !isReadOnly(m))
	})
}

func isBelow(point, root string) bool {
	return strings.HasPrefix(point, strings.TrimSuffix(root, "/")+"/")
}

func isReadOnly(m *Mount) bool {
	return slices.Contains(strings.Split(m.Options+","+m.VFSOptions, ","), "ro")
}

// lacking returns which of proc and sys need a second mount.
func (v *snapshot) lacking() (names []string) {
	for _, name := range []string{"proc", "sys"} {
		if d := v.dir(name); d.err == nil && v.table.lacksVisible(d.base, v.mountNS.Root) {
			names = append(names, name)
		}
	}
	return names
}

// addUncovered mounts the uncovered procfs and sysfs that the container lacks, and counts them in
// c. If the container prevents it, for instance by a read-only /dev, that is no error.
func (p *MountNS) addUncovered(v *snapshot, c *Change) error {
	point := path.Join(p.Root, devDir, uncoveredDir)
	covered, used := v.table.Top(point) != nil, len(v.table.Below(point)) > 0
	names := v.lacking()
	if len(names) == 0 && (covered || !used) {
		return nil
	}
	if covered || used {
		// One of the two may be there already: they are mounted together.
		if err := p.takeUncovered(new(Change)); err != nil {
			return err
		}
		var err error
		if v, err = p.snapshot(); err != nil {
			return err
		}
		defer v.close()
		if names = v.lacking(); len(names) == 0 {
			return nil
		}
	}
	if err := v.mountUncovered(names, c); unlessContainers(err) != nil {
		return fmt.Errorf("mount a second procfs on /%s/%s: %w", devDir, uncoveredDir, err)
	}
	return nil
}

// mountUncovered mounts an uncovered proc, sys or both, and covers their directory.
func (v *snapshot) mountUncovered(names []string, c *Change) error {
	dev, base, err := v.openDev()
	if err != nil {
		return err
	}
	defer dev.Close()
	if err := checkPeers(target{path: devDir, mountStack: mountStack{base: base}}); err != nil {
		return err
	}
	dir, err := v.ensureDir(dev, base, uncoveredDir)
	if err != nil {
		return err
	}
	defer dir.Close()
	var on []sys.File
	for _, name := range names {
		f, err := v.ensureDir(dir, base, name)
		if err != nil {
			return err
		}
		defer f.Close()
		on = append(on, f)
	}
	return sys.InMountNamespace(v.mountNS.ns, func(thread *sys.NamespaceThread) error {
		made, err := 0, error(nil)
		for ; made < len(names); made++ {
			isReadOnly := slices.Contains(v.mountNS.ReadOnly, "/"+names[made])
			if err = cloneOn(v.dirs[names[made]].file, on[made], isReadOnly); err != nil {
				break
			}
		}
		if err == nil {
			err = cloneOn(dir, dir, false)
		}
		if err == nil {
			c.Uncovered += made
			return nil
		}
		for _, name := range names[:made] { // without the cover they would be reachable
			err = errors.Join(err, thread.Unmount(dir, name))
		}
		return err
	})
}

// ensureDir creates the directory name in dir, if it is missing, and opens it. It fails unless the
// directory is on the mount base.
func (v *snapshot) ensureDir(dir sys.File, base *Mount, name string) (sys.File, error) {
	owner, err := dir.Statx()
	if err != nil {
		return sys.File{}, err
	}
	err = sys.AsOwner(owner.UID, owner.GID, func() error { return dir.Mkdir(name) })
	if err != nil && !errors.Is(err, syscall.EEXIST) {
		return sys.File{}, err
	}
	f, err := dir.OpenDirBelow(name)
	if err != nil {
		return sys.File{}, err
	}
	if on, err := v.mountOf(f); err != nil || on != base {
		f.Close()
		return sys.File{}, cmp.Or(err, errNoTmpfs)
	}
	return f, nil
}

// cloneOn mounts the directory dir, without the mounts in it, on the directory on.
func cloneOn(dir, on sys.File, isReadOnly bool) error {
	clone, err := dir.CloneMount()
	if err != nil {
		return err
	}
	defer clone.Close()
	limits := sys.MountLimits{ReadOnly: isReadOnly, NoSuid: true, NoDev: true, NoExec: true}
	if err := clone.LimitMount(limits); err != nil && (isReadOnly || !errors.Is(err, syscall.ENOSYS)) {
		return err
	}
	return clone.MoveMount(on, false)
}

// takeUncovered unmounts what mountUncovered has mounted, and counts the mounts in c.
func (p *MountNS) takeUncovered(c *Change) error {
	v, err := p.snapshot()
	if err != nil {
		return err
	}
	defer v.close()
	dev, base, err := v.openDev()
	if err != nil {
		return unlessContainers(err)
	}
	defer dev.Close()
	point := path.Join(base.Mountpoint, uncoveredDir)
	if cover := v.table.at[mountKey{base.ID, point}]; cover != nil {
		if Device(cover) != Device(base) || v.table.cover(cover) != nil {
			return nil // the container has mounted something on it
		}
		if err := v.unmountUncovered(dev, uncoveredDir); err != nil {
			return err
		}
	}
	dir, err := dev.OpenDirBelow(uncoveredDir)
	if err != nil {
		return unlessContainers(err)
	}
	defer dir.Close()
	if on, err := v.mountOf(dir); err != nil || on != base {
		return nil // the container has meanwhile
	}
	for _, name := range []string{"proc", "sys"} {
		m := v.table.at[mountKey{base.ID, path.Join(point, name)}]
		if m == nil {
			continue
		}
		if !isKernelFS(m) || v.table.cover(m) != nil {
			return nil // the container's own mount: rmdir(2) from this namespace would detach it
		}
		if err := v.unmountUncovered(dir, name); err != nil {
			return err
		}
		c.Uncovered++
	}
	owner, err := dev.Statx()
	if err != nil {
		return err
	}
	return unlessContainers(sys.AsOwner(owner.UID, owner.GID, func() error {
		// A directory that is not empty stays. Mounts on it in nested namespaces are detached.
		return errors.Join(dir.Rmdir("proc"), dir.Rmdir("sys"), dev.Rmdir(uncoveredDir))
	}))
}

func (v *snapshot) unmountUncovered(dir sys.File, name string) error {
	err := sys.InMountNamespace(v.mountNS.ns, func(thread *sys.NamespaceThread) error {
		return thread.Unmount(dir, name)
	})
	if v.mountNS.Nested && errors.Is(err, syscall.EINVAL) {
		return nil // inherited from the container, thus locked (mount_namespaces(7))
	} else if err != nil {
		return fmt.Errorf("unmount %s in /%s: %w", name, devDir, err)
	}
	return nil
}

var errNoTmpfs = errors.New("/dev is not a tmpfs")

func (v *snapshot) openDev() (sys.File, *Mount, error) {
	dev, err := v.root.OpenDirBelow(devDir)
	if err != nil {
		return sys.File{}, nil, err
	}
	base, err := v.mountOf(dev)
	if err == nil && (base.FSType != "tmpfs" || base.Mountpoint != path.Join(v.mountNS.Root, devDir)) {
		err = errNoTmpfs
	}
	if err != nil {
		dev.Close()
		return sys.File{}, nil, err
	}
	return dev, base, nil
}

// unlessContainers returns err, or nil if the container's /dev or an old kernel causes it.
func unlessContainers(err error) error {
	own := []error{
		errNoTmpfs, syscall.ENOENT, syscall.ENOTDIR, syscall.ELOOP, syscall.EROFS, syscall.ENOSPC,
		syscall.EDQUOT, syscall.EACCES, syscall.EPERM, syscall.EOVERFLOW, syscall.ENOTEMPTY,
		syscall.EBUSY, syscall.EINVAL, syscall.ENOSYS,
	}
	if slices.ContainsFunc(own, func(target error) bool { return errors.Is(err, target) }) {
		return nil
	}
	return err
}
