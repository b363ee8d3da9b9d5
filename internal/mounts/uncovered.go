package mounts

import (
	"cmp"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"syscall"

	"palisade/internal/sys"
)

// The kernel lets a nested user namespace mount a procfs or sysfs only where its mount namespace
// has one without mounts on its files (mount_too_revealing() in fs/namespace.c). The mounts of
// lxcfs end that. So a container whose own procfs has no other mounts gets a second one without
// any, called uncovered here, as LXC makes it on /dev/.lxc/proc. A container with masked paths gets
// none. A runtime masks them after its hooks, so none is made before it is done, unless it is known
// to mask nothing. The second one need not be reachable, and must not be: AppArmor profiles deny
// access to files of /proc by their paths. A bind mount of the directory on itself covers it.

// uncoveredDir is the directory of the uncovered procfs and sysfs on the tmpfs that is a
// container's /dev. It is not called lxcfs, so that "mount | grep lxcfs" lists the files of lxcfs
// alone.
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

// lacksVisible reports whether lxcfs alone covers the procfs or sysfs base, and none below root is
// visible in its place.
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
func (v *visit) lacking() (names []string) {
	for _, name := range []string{"proc", "sys"} {
		if d := v.dir(name); d.err == nil && v.table.lacksVisible(d.base, v.place.Root) {
			names = append(names, name)
		}
	}
	return names
}

// addUncovered mounts what the container lacks, and counts it in c. What the container itself keeps
// it from, a read-only /dev for instance, is no error.
func (p *Place) addUncovered(v *visit, c *Change) error {
	point := path.Join(p.Root, devDir, uncoveredDir)
	covered, used := v.table.Top(point) != nil, len(v.table.Below(point)) > 0
	names := v.lacking()
	if len(names) == 0 && (covered || !used) {
		return nil
	}
	if covered || used {
		// One of the two may be there: they are made together.
		if err := p.takeUncovered(new(Change)); err != nil {
			return err
		}
		var err error
		if v, err = p.visit(); err != nil {
			return err
		}
		defer v.close()
		if names = v.lacking(); len(names) == 0 {
			return nil
		}
	}
	if err := v.makeUncovered(names, c); unlessContainers(err) != nil {
		return fmt.Errorf("mount a second procfs on /%s/%s: %w", devDir, uncoveredDir, err)
	}
	return nil
}

// makeUncovered mounts them, and covers their directory.
func (v *visit) makeUncovered(names []string, c *Change) error {
	dev, base, err := v.openDev()
	if err != nil {
		return err
	}
	defer dev.Close()
	if err := checkPeers([]target{{path: devDir, base: base}}); err != nil {
		return err
	}
	dir, err := v.makeDir(dev, base, uncoveredDir)
	if err != nil {
		return err
	}
	defer dir.Close()
	var on []sys.File
	for _, name := range names {
		f, err := v.makeDir(dir, base, name)
		if err != nil {
			return err
		}
		defer f.Close()
		on = append(on, f)
	}
	return sys.InMountNamespace(v.place.ns, func(thread *sys.NamespaceThread) error {
		made, err := v.cloneUncovered(names, on)
		if err == nil {
			err = cloneOn(dir, dir, false)
		}
		if err == nil {
			c.Uncovered += made
			return nil
		}
		for _, name := range names[:made] { // they must not be reachable
			err = errors.Join(err, thread.Unmount(dir, name))
		}
		return err
	})
}

// cloneUncovered mounts those with the names on their directories, and returns how many it has
// mounted.
func (v *visit) cloneUncovered(names []string, on []sys.File) (made int, err error) {
	for i, name := range names {
		isReadOnly := slices.Contains(v.place.ReadOnly, "/"+name)
		if err := cloneOn(v.dirs[name].file, on[i], isReadOnly); err != nil {
			return i, err
		}
	}
	return len(names), nil
}

// makeDir makes the directory name in dir, if it is missing, and opens it. It must be on the mount
// base.
func (v *visit) makeDir(dir sys.File, base *Mount, name string) (sys.File, error) {
	owner, err := dir.Look()
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

// cloneOn mounts the directory dir, without what is mounted in it, on another.
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

// takeUncovered takes away what makeUncovered has made, and counts the mounts in c.
func (p *Place) takeUncovered(c *Change) error {
	v, err := p.visit()
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
	if cover := v.table.at[spot{base.ID, point}]; cover != nil {
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
		return nil // meanwhile it has
	}
	for _, name := range []string{"proc", "sys"} {
		m := v.table.at[spot{base.ID, path.Join(point, name)}]
		if m == nil {
			continue
		}
		if !isKernelFS(m) || v.table.cover(m) != nil {
			return nil // the container's: rmdir(2) from this namespace would detach it
		}
		if err := v.unmountUncovered(dir, name); err != nil {
			return err
		}
		c.Uncovered++
	}
	owner, err := dev.Look()
	if err != nil {
		return err
	}
	return unlessContainers(sys.AsOwner(owner.UID, owner.GID, func() error {
		// They stay where they are not empty. What is mounted on them in nested namespaces goes.
		return errors.Join(dir.Rmdir("proc"), dir.Rmdir("sys"), dev.Rmdir(uncoveredDir))
	}))
}

func (v *visit) unmountUncovered(dir sys.File, name string) error {
	err := sys.InMountNamespace(v.place.ns, func(thread *sys.NamespaceThread) error { return thread.Unmount(dir, name) })
	if v.place.Nested && errors.Is(err, syscall.EINVAL) {
		return nil // it came from the container into a namespace of less privilege, and goes with that
	} else if err != nil {
		return fmt.Errorf("unmount %s in /%s: %w", name, devDir, err)
	}
	return nil
}

// errNoTmpfs is the error for a container whose /dev, or the directory in it, is no tmpfs.
var errNoTmpfs = errors.New("/dev is no tmpfs")

// openDev opens the container's /dev, which must be a tmpfs.
func (v *visit) openDev() (sys.File, *Mount, error) {
	dev, err := v.root.OpenDirBelow(devDir)
	if err != nil {
		return sys.File{}, nil, err
	}
	base, err := v.mountOf(dev)
	if err == nil && (base.FSType != "tmpfs" || base.Mountpoint != path.Join(v.place.Root, devDir)) {
		err = errNoTmpfs
	}
	if err != nil {
		dev.Close()
		return sys.File{}, nil, err
	}
	return dev, base, nil
}

// unlessContainers returns err, or nil if the container's /dev or an old kernel is its cause.
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
