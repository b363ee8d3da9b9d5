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

// A container may have the mount point of lxcfs as a volume, by its parent directory: -v
// /var/lib/lxc:/var/lib/lxc. Unless the volume is a slave it keeps the mount of an lxcfs that has
// ended, each access to which fails with ENOTCONN.

// Location is a directory of a file system, in whatever mounts it is seen.
type Location struct {
	device sys.DeviceNumber
	path   string
}

// locate returns where point is that the mount m shows.
func locate(m *Mount, point string) Location {
	rel := strings.TrimPrefix(point, strings.TrimSuffix(m.Mountpoint, "/"))
	return Location{Device(m), path.Join(m.Root, rel)}
}

// Locate returns where the directory point is, without the mounts on it.
func (t *Table) Locate(point string) Location {
	var on *Mount
	for _, m := range t.all {
		if m.Mountpoint != point && isBelow(point, m.Mountpoint) && t.cover(m) == nil &&
			(on == nil || len(m.Mountpoint) >= len(on.Mountpoint)) {
			on = m
		}
	}
	if on == nil {
		return Location{}
	}
	return locate(on, point)
}

// volume is a dead mount of an lxcfs as a whole, on its mount point in a volume.
type volume struct{ base, dead *Mount }

// isWhole reports whether m is a mount of an lxcfs as a whole.
func isWhole(m *Mount) bool { return m.FSType == FSType && m.Root == "/" }

// deadVolumes returns those below root that are on the directory mountpoint, and of no file system
// that is alive. No file system is accessed.
func (t *Table) deadVolumes(
	mountpoint Location, alive map[sys.DeviceNumber]bool, root string,
) (volumes []volume) {
	for _, m := range t.all {
		if !isWhole(m) || alive[Device(m)] || t.cover(m) != nil || !isBelow(m.Mountpoint, root) {
			continue
		}
		isUnder := func(base *Mount) bool {
			return base != nil && base.FSType == FSType && base.Mountpoint == m.Mountpoint
		}
		base := t.byID[m.Parent]
		for n := 0; isUnder(base) && n < len(t.all); n++ {
			base = t.byID[base.Parent]
		}
		if base != nil && locate(base, m.Mountpoint) == mountpoint {
			volumes = append(volumes, volume{base, m})
		}
	}
	return volumes
}

// DeadVolumes returns the places at which the container has a mount of an lxcfs as a whole on its
// mount point, in a volume, that is of no file system that is alive.
func (t *Table) DeadVolumes(
	mountpoint Location, alive map[sys.DeviceNumber]bool,
) (points []string) {
	for _, v := range t.deadVolumes(mountpoint, alive, "/") {
		points = append(points, v.dead.Mountpoint)
	}
	return points
}

// replaceVolumes mounts src as a whole in place of dead ones.
func (v *visit) replaceVolumes(src *Source, c *Change) error {
	mayBeDead := func(m *Mount) bool { return isWhole(m) && Device(m) != src.device }
	if src.classic || !slices.ContainsFunc(v.table.all, mayBeDead) {
		return nil
	}
	own, err := OwnTable()
	if err != nil {
		return err
	}
	alive := map[sys.DeviceNumber]bool{src.device: true}
	for _, volume := range v.table.deadVolumes(own.Locate(src.mountpoint), alive, v.place.Root) {
		if err := v.replaceVolume(volume, src, c); err != nil {
			return fmt.Errorf("mount on %s: %w", volume.dead.Mountpoint, err)
		}
	}
	return nil
}

func (v *visit) replaceVolume(volume volume, src *Source, c *Change) error {
	if err := checkPeers([]target{{path: volume.dead.Mountpoint, base: volume.base}}); err != nil {
		return err
	}
	root, err := v.place.process.OpenDirAt("root")
	if err != nil {
		return err
	}
	defer root.Close()
	point := volume.dead.Mountpoint
	t := target{path: point, name: path.Base(point), base: volume.base}
	t.stack = v.table.stack(t.base, t.path)
	if t.dir, err = root.OpenDirBelow(path.Dir(t.path)); err != nil {
		return nil // hidden, or moved meanwhile
	}
	defer t.dir.Close()
	if on, err := v.mountOf(t.dir); err != nil || on != volume.base {
		return nil
	}
	if t.tree, err = src.root.CloneMount(); err != nil {
		return err
	}
	defer t.tree.Close()
	options := strings.Split(volume.dead.Options, ",")
	has := func(option string) bool { return slices.Contains(options, option) }
	err = t.tree.LimitMount(sys.MountLimits{
		ReadOnly: has("ro"), NoSuid: has("nosuid"), NoDev: has("nodev"), NoExec: has("noexec"),
	})
	if err != nil && !errors.Is(err, syscall.ENOSYS) {
		return err
	}
	return sys.InMountNamespace(v.place.ns, func(thread *sys.NamespaceThread) error {
		err := t.moveOn(true)
		if errors.Is(err, syscall.EINVAL) {
			// The kernel cannot mount beneath, or the mount is locked: then it is covered.
			if err = t.unmountTop(thread, c); errors.Is(err, syscall.EINVAL) {
				err = nil
			}
			if err == nil {
				err = t.moveOn(false)
			}
		} else if err == nil {
			err = t.unmountTop(thread, c)
		}
		if err == nil {
			c.Put = append(c.Put, t.path)
		}
		return err
	})
}

// moveOn attaches the target's tree, on top of what is there or beneath.
func (t *target) moveOn(beneath bool) error {
	on, err := t.dir.OpenPathAt(t.name)
	if err != nil {
		return err
	}
	defer on.Close()
	return t.tree.MoveMount(on, beneath)
}
