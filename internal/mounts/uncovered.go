package mounts

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"syscall"

	"palisade/internal/sys"
)

// The kernel lets a nested user namespace mount a procfs or sysfs only where one is visible as a
// whole: without mounts on its files (mount_too_revealing() in fs/namespace.c). The mounts of lxcfs
// end that. So a container whose own is visible but for them gets a second one, on which nothing is
// mounted, as LXC makes it with lxc.mount.entry = proc dev/.lxc/proc. One that has masked paths
// gets none: they would be seen there.

// uncoveredDir is the directory of a container for them, on the tmpfs that is its /dev.
const uncoveredDir = "dev/.lxcfs"

// emptyMountpoints are the directories of procfs and sysfs that are always empty, so that a mount on
// one covers nothing (proc_create_mount_point(), sysfs_create_mount_point()).
var emptyMountpoints = map[string][]string{
	"proc": {"fs/nfsd", "sys/fs/binfmt_misc"},
	"sysfs": {
		"firmware/efi/efivars", "fs/bpf", "fs/cgroup", "fs/fuse/connections", "fs/pstore", "fs/selinux", "fs/smackfs",
		"kernel/config", "kernel/debug", "kernel/security", "kernel/tracing",
	},
}

// isVisible reports whether the procfs or sysfs m is visible as a whole, but for mounts that but
// accepts.
func (t *Table) isVisible(m *Mount, but func(*Mount) bool) bool {
	return !slices.ContainsFunc(t.on[m.ID], func(child *Mount) bool {
		name := strings.TrimPrefix(child.Mountpoint, m.Mountpoint+"/")
		return child.ID != m.ID && !slices.Contains(emptyMountpoints[m.FSType], name) && !but(child)
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
		return m.FSType == base.FSType && m.Root == "/" && isBelow(m.Mountpoint, root) && t.isVisible(m, none) &&
			(isReadOnly(base) || !isReadOnly(m))
	})
}

func isBelow(point, root string) bool { return strings.HasPrefix(point, strings.TrimSuffix(root, "/")+"/") }

func isReadOnly(m *Mount) bool {
	return slices.Contains(strings.Split(m.Options+","+m.VFSOptions, ","), "ro")
}

// addUncovered mounts what the container lacks, and counts it in c. What the container itself keeps
// it from, a read-only /dev for instance, is no error.
func (v *visit) addUncovered(c *Change) error {
	var lacking []string
	for _, name := range []string{"proc", "sys"} {
		if d := v.dir(name); d.err == nil && v.table.lacksVisible(d.base, v.place.Root) {
			lacking = append(lacking, name)
		}
	}
	if len(lacking) == 0 {
		return nil
	}
	d, err := v.openUncovered()
	if err != nil {
		return containersOwn(err)
	}
	defer d.close()
	for _, name := range lacking {
		if d.mounts[name] != nil {
			continue // the container has mounted something in it
		}
		err := v.cloneUncovered(name, d)
		if err != nil && containersOwn(err) == nil {
			continue
		} else if err != nil {
			return fmt.Errorf("mount on %s/%s: %w", uncoveredDir, name, err)
		}
		c.Uncovered++
	}
	return nil
}

func (v *visit) cloneUncovered(name string, d *uncovered) error {
	err := d.asOwner(func() error { return d.dir.Mkdir(name) })
	if err != nil && !errors.Is(err, syscall.EEXIST) {
		return err
	}
	on, err := d.dir.OpenDirBelow(name)
	if err != nil {
		return err
	}
	defer on.Close()
	return sys.InMountNamespace(v.place.ns, func(*sys.NamespaceThread) error {
		clone, err := v.dirs[name].file.CloneMount()
		if err != nil {
			return err
		}
		defer clone.Close()
		if err := clone.RestrictMount(); err != nil && !errors.Is(err, syscall.ENOSYS) {
			return err
		}
		return clone.MoveMount(on, false)
	})
}

// takeUncovered takes them away, with their directories.
func (p *Place) takeUncovered(c *Change) error {
	v, err := p.visit()
	if err != nil {
		return err
	}
	defer v.close()
	d, err := v.findUncovered()
	if err != nil {
		return containersOwn(err)
	}
	defer d.close()
	for name, m := range d.mounts {
		if !isKernelFS(m) || v.table.cover(m) != nil {
			continue // the container has mounted it
		}
		err := sys.InMountNamespace(p.ns, func(thread *sys.NamespaceThread) error { return thread.Unmount(d.dir, name) })
		if p.Nested && errors.Is(err, syscall.EINVAL) {
			continue // it came from the container into a namespace of less privilege
		} else if err != nil {
			return fmt.Errorf("unmount %s/%s: %w", uncoveredDir, name, err)
		}
		c.Uncovered++
	}
	return containersOwn(d.asOwner(func() error {
		// They stay where they are not empty, or mount points in other namespaces.
		return errors.Join(d.dir.Rmdir("proc"), d.dir.Rmdir("sys"), d.dev.Rmdir(path.Base(uncoveredDir)))
	}))
}

// uncovered is the uncoveredDir of a container.
type uncovered struct {
	dev, dir sys.File
	owner    sys.Inode
	// mounts are those on its directories proc and sys.
	mounts map[string]*Mount
}

func (d *uncovered) close() {
	d.dev.Close()
	d.dir.Close()
}

func (d *uncovered) asOwner(do func() error) error { return sys.AsOwner(d.owner.UID, d.owner.GID, do) }

// errNoTmpfs is the error for a container whose /dev is no tmpfs of its own.
var errNoTmpfs = errors.New("/dev is no tmpfs")

// openUncovered opens the directory, and makes it if it is missing.
func (v *visit) openUncovered() (*uncovered, error) {
	d, err := v.findUncovered()
	if !errors.Is(err, syscall.ENOENT) {
		return d, err
	}
	dev, base, err := v.openDev()
	if err != nil {
		return nil, err
	}
	defer dev.Close()
	if err := checkPeers([]target{{path: path.Dir(uncoveredDir), base: base}}); err != nil {
		return nil, err
	}
	owner, err := dev.Look()
	if err != nil {
		return nil, err
	}
	err = sys.AsOwner(owner.UID, owner.GID, func() error { return dev.Mkdir(path.Base(uncoveredDir)) })
	if err != nil && !errors.Is(err, syscall.EEXIST) {
		return nil, err
	}
	return v.findUncovered()
}

// openDev opens the container's /dev, which must be a tmpfs.
func (v *visit) openDev() (sys.File, *Mount, error) {
	dev, err := v.root.OpenDirBelow(path.Dir(uncoveredDir))
	if err != nil {
		return sys.File{}, nil, err
	}
	base, err := v.mountOf(dev)
	if err == nil && (base.FSType != "tmpfs" || base.Mountpoint != path.Join(v.place.Root, path.Dir(uncoveredDir))) {
		err = errNoTmpfs
	}
	if err != nil {
		dev.Close()
		return sys.File{}, nil, err
	}
	return dev, base, nil
}

// findUncovered opens the directory where it is there, on the tmpfs itself.
func (v *visit) findUncovered() (*uncovered, error) {
	dev, base, err := v.openDev()
	if err != nil {
		return nil, err
	}
	d := &uncovered{dev: dev, mounts: make(map[string]*Mount)}
	d.dir, err = dev.OpenDirBelow(path.Base(uncoveredDir))
	var on *Mount
	if err == nil {
		on, err = v.mountOf(d.dir)
	}
	if err == nil && on != base {
		err = errNoTmpfs
	}
	if err == nil {
		d.owner, err = dev.Look()
	}
	if err != nil {
		d.close()
		return nil, err
	}
	for _, name := range []string{"proc", "sys"} {
		if m := v.table.at[spot{base.ID, path.Join(v.place.Root, uncoveredDir, name)}]; m != nil {
			d.mounts[name] = m
		}
	}
	return d, nil
}

// containersOwn returns nil for an error that the container causes, by what its /dev is or has, or an
// old kernel.
func containersOwn(err error) error {
	own := []error{
		errNoTmpfs, syscall.ENOENT, syscall.ENOTDIR, syscall.ELOOP, syscall.EROFS, syscall.ENOSPC, syscall.EDQUOT,
		syscall.EACCES, syscall.EPERM, syscall.EOVERFLOW, syscall.ENOTEMPTY, syscall.EBUSY, syscall.EINVAL,
		syscall.ENOSYS,
	}
	if slices.ContainsFunc(own, func(target error) bool { return errors.Is(err, target) }) {
		return nil
	}
	return err
}
