package mounts

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"syscall"

	"palisade/internal/sys"
)

// A container may have an lxcfs as a whole: as a volume with the host's mount point, by its parent
// directory (-v /var/lib/lxc:/var/lib/lxc), or bound to a directory of its own, as LXC's hook does
// on /var/lib/lxcfs for the containers in it. Unless it is a slave it keeps the mount of an lxcfs
// that has ended, each access to which fails with ENOTCONN.

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

// Host says which lxcfs are mounted on the host.
type Host struct {
	// Mountpoint is the directory on which the main one is mounted.
	Mountpoint Location
	// Device is its file system, zero if it is not mounted.
	Device sys.DeviceNumber
	// Others are the file systems of others, whose files are left alone.
	Others map[sys.DeviceNumber]bool
}

// Host returns what the host's mount table says, where the main lxcfs is the one on mountpoint.
func (t *Table) Host(mountpoint string) Host {
	h := Host{Mountpoint: t.Locate(mountpoint), Others: t.OtherLxcfs(mountpoint)}
	if top := t.Top(mountpoint); top != nil && top.FSType == FSType {
		h.Device = Device(top)
	}
	return h
}

// volume is a mount of an lxcfs as a whole, and the mount on which it lies.
type volume struct{ base, mount *Mount }

// isWhole reports whether m is a mount of an lxcfs as a whole.
func isWhole(m *Mount) bool { return m.FSType == FSType && m.Root == "/" }

// volumes returns those below root that nothing covers.
func (t *Table) volumes(root string) (volumes []volume) {
	for _, m := range t.all {
		if !isWhole(m) || t.cover(m) != nil || !isBelow(m.Mountpoint, root) {
			continue
		}
		isUnder := func(base *Mount) bool {
			return base != nil && base.FSType == FSType && base.Mountpoint == m.Mountpoint
		}
		base := t.byID[m.Parent]
		for n := 0; isUnder(base) && n < len(t.all); n++ {
			base = t.byID[base.Parent]
		}
		if base != nil {
			volumes = append(volumes, volume{base, m})
		}
	}
	return volumes
}

// isOn reports whether the volume is on the directory.
func (v *volume) isOn(dir Location) bool { return locate(v.base, v.mount.Mountpoint) == dir }

// served returns the file systems of the files of lxcfs in the namespace.
func (t *Table) served() map[sys.DeviceNumber]bool {
	served := make(map[sys.DeviceNumber]bool)
	for _, f := range t.Files() {
		served[f.Device] = true
	}
	return served
}

// deadVolumes returns the volumes below root that are of no file system that is alive, and are on
// the directory mountpoint or, if isLXC is set, of the file system of files in the namespace: no
// other can be told from one that the container has mounted itself. A container of liblxc gains
// nothing if it pretends to have one, since addNest gives it one. No file system is accessed.
func (t *Table) deadVolumes(
	mountpoint Location, alive map[sys.DeviceNumber]bool, root string, isLXC bool,
) []volume {
	served := t.served()
	return slices.DeleteFunc(t.volumes(root), func(v volume) bool {
		device := Device(v.mount)
		return alive[device] || !v.isOn(mountpoint) && !(isLXC && served[device])
	})
}

// DeadVolumes returns the places at which the container, of liblxc or not, has a mount of an lxcfs
// as a whole that is of no file system that is alive.
func (t *Table) DeadVolumes(
	mountpoint Location, alive map[sys.DeviceNumber]bool, isLXC bool,
) (points []string) {
	for _, v := range t.deadVolumes(mountpoint, alive, "/", isLXC) {
		points = append(points, v.mount.Mountpoint)
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
	alive := maps.Clone(v.place.Host.Others)
	if alive == nil {
		alive = make(map[sys.DeviceNumber]bool)
	}
	alive[src.device] = true
	mountpoint := own.Locate(src.mountpoint)
	for _, volume := range v.table.deadVolumes(mountpoint, alive, v.place.Root, v.place.IsLXC) {
		if err := v.replaceVolume(volume, src, c); err != nil {
			return fmt.Errorf("mount on %s: %w", volume.mount.Mountpoint, err)
		}
	}
	return nil
}

// nest is the directory on which liblxc's hook mounts lxcfs as a whole, for containers inside, if
// the container has it.
const nest = "/var/lib/lxcfs"

// addNest does what the hook does, unless something is mounted there already. A directory that the
// host would get the mount of is left alone.
func (v *visit) addNest(src *Source, c *Change) error {
	if !v.place.IsLXC || src.classic || v.table.Top(nest) != nil {
		return nil
	}
	point, err := v.root.OpenDirBelow(nest)
	if err != nil {
		return nil
	}
	defer point.Close()
	base, err := v.mountOf(point)
	if err != nil || checkPeers([]target{{path: nest, base: base}}) != nil {
		return nil
	}
	tree, err := src.root.CloneMount()
	if err != nil {
		return err
	}
	defer tree.Close()
	if err := tree.RestrictMount(); err != nil && !errors.Is(err, syscall.ENOSYS) {
		return err
	}
	err = sys.InMountNamespace(v.place.ns, func(*sys.NamespaceThread) error {
		return tree.MoveMount(point, false)
	})
	if err != nil {
		return fmt.Errorf("mount on %s: %w", nest, err)
	}
	c.Put = append(c.Put, nest)
	return nil
}

// takeVolumes unmounts those of the main lxcfs and of the file systems of files in the namespace,
// except on the main one's mount point: Put would not mount them there again.
func (v *visit) takeVolumes(c *Change) error {
	host, served := v.place.Host, v.table.served()
	for _, volume := range v.table.volumes(v.place.Root) {
		device := Device(volume.mount)
		isOurs := !host.Others[device] && (device == host.Device || served[device])
		if !isOurs || volume.isOn(host.Mountpoint) || v.table.hasForeign(volume.mount) {
			continue
		}
		t, ok, err := v.openVolume(volume)
		if ok && err == nil {
			err = sys.InMountNamespace(v.place.ns, func(thread *sys.NamespaceThread) error {
				for v.table.onTop(t.stack) > 0 { // a dead one may be covered
					if err := t.unmountTop(thread, c); err != nil {
						return err
					}
				}
				return nil
			})
			t.dir.Close()
		}
		if err != nil && !(v.place.Nested && errors.Is(err, syscall.EINVAL)) {
			return fmt.Errorf("unmount %s: %w", volume.mount.Mountpoint, err)
		}
	}
	return nil
}

// openVolume opens the directory that holds the volume's mount point, as the target's dir, which
// the caller must close. It returns false if that is hidden or was moved meanwhile.
func (v *visit) openVolume(volume volume) (t target, ok bool, err error) {
	root, err := v.place.process.OpenDirAt("root")
	if err != nil {
		return t, false, err
	}
	defer root.Close()
	point := volume.mount.Mountpoint
	t = target{path: point, name: path.Base(point), base: volume.base}
	t.stack = v.table.stack(t.base, t.path)
	if t.dir, err = root.OpenDirBelow(path.Dir(t.path)); err != nil {
		return t, false, nil
	}
	if on, err := v.mountOf(t.dir); err != nil || on != volume.base {
		t.dir.Close()
		return t, false, nil
	}
	return t, true, nil
}

func (v *visit) replaceVolume(volume volume, src *Source, c *Change) error {
	if err := checkPeers([]target{{path: volume.mount.Mountpoint, base: volume.base}}); err != nil {
		return err
	}
	t, ok, err := v.openVolume(volume)
	if !ok || err != nil {
		return err
	}
	defer t.dir.Close()
	if t.tree, err = src.root.CloneMount(); err != nil {
		return err
	}
	defer t.tree.Close()
	options := strings.Split(volume.mount.Options, ",")
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
