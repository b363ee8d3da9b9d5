package mounts

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"syscall"

	"palisade/internal/linux/sys"
)

// A whole lxcfs may be mounted in a container: as a volume of the directory above the host's mount
// point (-v /var/lib/lxc:/var/lib/lxc), or on a directory of the container, as LXC's hook does on
// /var/lib/lxcfs for nested containers. Unless the mount is a slave, it stays when that lxcfs ends,
// and each access fails with ENOTCONN.

// Location is a directory of a file system, whichever mount shows it.
type Location struct {
	device sys.DeviceNumber
	path   string
}

// locate returns the location of point, a path that the mount m shows.
func locate(m *Mount, point string) Location {
	rel := strings.TrimPrefix(point, strings.TrimSuffix(m.Mountpoint, "/"))
	return Location{Device(m), path.Join(m.Root, rel)}
}

// Locate returns the location of the directory point below the mounts on it.
func (t *Table) Locate(point string) Location {
	if on := t.Holding(path.Dir(point)); on != nil {
		return locate(on, point)
	}
	return Location{}
}

// Host lists the lxcfs that are mounted on the host.
type Host struct {
	// Mountpoint is the mount point of the main lxcfs.
	Mountpoint Location
	// Device is its file system, zero if it is not mounted.
	Device sys.DeviceNumber
	// Others are the file systems of other lxcfs, whose files are left alone.
	Others map[sys.DeviceNumber]bool
}

// Host returns the lxcfs in t, the host's mount table. The main one is on mountpoint.
func (t *Table) Host(mountpoint string) Host {
	h := Host{Mountpoint: t.Locate(mountpoint), Others: make(map[sys.DeviceNumber]bool)}
	if top := t.Top(mountpoint); top != nil && top.FSType == FSType {
		h.Device = Device(top)
	}
	for _, m := range t.all {
		if isWhole(m) {
			h.Others[Device(m)] = true
		}
	}
	for _, m := range t.all {
		if m.Mountpoint == mountpoint {
			delete(h.Others, Device(m)) // mounted on mountpoint, and elsewhere too
		}
	}
	return h
}

// isWhole reports whether m is a mount of a whole lxcfs.
func isWhole(m *Mount) bool { return m.FSType == FSType && m.Root == "/" }

// volumes returns the stacks below root with a whole lxcfs on top.
func (t *Table) volumes(root string) (volumes []mountStack) {
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
		if base == nil {
			continue
		}
		if v := t.stackOn(base, m.Mountpoint); v.top() == m {
			volumes = append(volumes, v)
		}
	}
	return volumes
}

func (s *mountStack) isOn(dir Location) bool { return locate(s.base, s.point) == dir }

// served returns the file systems of the lxcfs files in the namespace.
func (t *Table) served() map[sys.DeviceNumber]bool {
	served := make(map[sys.DeviceNumber]bool)
	for _, f := range t.Files() {
		served[f.Device] = true
	}
	return served
}

// deadVolumes returns the volumes below root whose file system is not alive and that are on the
// directory mountpoint or, if isLXC is set, show the file system of lxcfs files in the namespace.
// Any other volume may be the container's own mount. A container of liblxc that forges such a
// volume gains nothing, since addNest mounts one anyway. deadVolumes accesses no file system.
func (t *Table) deadVolumes(
	mountpoint Location, alive map[sys.DeviceNumber]bool, root string, isLXC bool,
) []mountStack {
	served := t.served()
	return slices.DeleteFunc(t.volumes(root), func(v mountStack) bool {
		device := Device(v.top())
		return alive[device] || !v.isOn(mountpoint) && !(isLXC && served[device])
	})
}

// DeadVolumes returns the mount points in a container at which the whole of a dead lxcfs is
// mounted.
func (t *Table) DeadVolumes(
	mountpoint Location, alive map[sys.DeviceNumber]bool, isLXC bool,
) (points []string) {
	for _, v := range t.deadVolumes(mountpoint, alive, "/", isLXC) {
		points = append(points, v.point)
	}
	return points
}

func (v *snapshot) replaceVolumes(src *Source, c *Change) error {
	mayBeDead := func(m *Mount) bool { return isWhole(m) && Device(m) != src.device }
	if src.classic || !slices.ContainsFunc(v.table.all, mayBeDead) {
		return nil
	}
	own, err := OwnTable()
	if err != nil {
		return err
	}
	alive := maps.Clone(v.mountNS.Host.Others)
	if alive == nil {
		alive = make(map[sys.DeviceNumber]bool)
	}
	alive[src.device] = true
	mountpoint := own.Locate(src.mountpoint)
	for _, volume := range v.table.deadVolumes(mountpoint, alive, v.mountNS.Root, v.mountNS.IsLXC) {
		if err := v.replaceVolume(volume, src, c); err != nil {
			return fmt.Errorf("mount on %s: %w", volume.point, err)
		}
	}
	return nil
}

// nest is the directory of a container on which liblxc's hook mounts the whole lxcfs for nested
// containers, if it exists.
const nest = "/var/lib/lxcfs"

// addNest mounts src on nest, unless something is mounted there already or the mount would
// propagate to the host.
func (v *snapshot) addNest(src *Source, c *Change) error {
	if !v.mountNS.IsLXC || src.classic || v.table.Top(nest) != nil {
		return nil
	}
	point, err := v.root.OpenDirBelow(nest)
	if err != nil {
		return nil
	}
	defer point.Close()
	base, err := v.mountOf(point)
	if err != nil || checkPeers(target{path: nest, mountStack: mountStack{base: base}}) != nil {
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
	err = sys.InMountNamespace(v.mountNS.ns, func(*sys.NamespaceThread) error {
		return tree.MoveMount(point, false)
	})
	if err != nil {
		return fmt.Errorf("mount on %s: %w", nest, err)
	}
	c.Put = append(c.Put, nest)
	return nil
}

// takeVolumes unmounts the volumes of the main lxcfs and of the file systems of lxcfs files in the
// namespace. It keeps those on the mount point of the main lxcfs, which Put would not mount again.
func (p *MountNS) takeVolumes(table *Table, c *Change) error {
	served := table.served()
	volumes := slices.DeleteFunc(table.volumes(p.Root), func(v mountStack) bool {
		device := Device(v.top())
		isOurs := !p.Host.Others[device] && (device == p.Host.Device || served[device])
		return !isOurs || v.isOn(p.Host.Mountpoint) || table.hasForeign(v.top())
	})
	return p.takeStacks(table, volumes, c)
}

func (v *snapshot) replaceVolume(volume mountStack, src *Source, c *Change) error {
	t := target{path: volume.point, mountStack: volume}
	if err := checkPeers(t); err != nil {
		return err
	}
	root, err := v.mountNS.process.OpenDirAt("root")
	if err != nil {
		return err
	}
	defer root.Close()
	if err := t.openDir(root); err != nil || !t.dir.IsOpen() {
		return err
	}
	defer t.dir.Close()
	if t.tree, err = src.root.CloneMount(); err != nil {
		return err
	}
	defer t.tree.Close()
	options := strings.Split(volume.top().Options, ",")
	has := func(option string) bool { return slices.Contains(options, option) }
	err = t.tree.LimitMount(sys.MountLimits{
		ReadOnly: has("ro"), NoSuid: has("nosuid"), NoDev: has("nodev"), NoExec: has("noexec"),
	})
	if err != nil && !errors.Is(err, syscall.ENOSYS) {
		return err
	}
	return sys.InMountNamespace(v.mountNS.ns, func(thread *sys.NamespaceThread) error {
		err := t.moveOn(true)
		if errors.Is(err, syscall.EINVAL) {
			// The kernel cannot mount beneath, or the mount is locked. A locked mount is covered.
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

// moveOn attaches the target's tree, on top of its mounts or beneath the topmost.
func (t *target) moveOn(beneath bool) error {
	on, err := t.dir.OpenPathAt(t.name())
	if err != nil {
		return err
	}
	defer on.Close()
	return t.tree.MoveMount(on, beneath)
}
