package idmount

import (
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"syscall"

	"github.com/moby/sys/mountinfo"

	"palisade/internal/linux/sys"
	"palisade/internal/oci/idmap"
	"palisade/internal/userns/walk"
)

// Volume is a file or directory of the host that a container gets with other ids.
type Volume struct {
	// Source was opened by sys.OpenPath.
	Source sys.File
	// Pair maps the ids on the disk, each Container of an extent, to those of the host.
	Pair idmap.Pair
	// Recursive includes the mounts below Source, ReadOnly makes the mount of Source read-only, and
	// ReadOnlyBelow those below it.
	Recursive, ReadOnly, ReadOnlyBelow bool
	// Private cuts the volume off from later mounts below Source.
	Private bool
	// CanRemount reports that the container may be able to make a read-only mount writable.
	CanRemount bool
}

// VolumeError is the error for a volume that cannot be mounted with other ids.
type VolumeError struct {
	// Index is that of the volume.
	Index int
	// Err is a ReachableError, an UnmappableError, or another error.
	Err error
}

// UnmappableError is the error for a mount that cannot be idmapped.
type UnmappableError struct {
	Path, FSType string
	// IsBelow reports that it is a mount below the volume's source.
	IsBelow bool
	err     error
}

func (e *UnmappableError) Error() string {
	return fmt.Sprintf("%s is on %s, which cannot be idmapped: %v", e.Path, e.FSType, e.err)
}

// MappedVolume is a detached idmapped mount of a volume.
type MappedVolume struct{ mount sys.File }

// Attach mounts the volume on the file or directory at dst, which must be one or the other like the
// volume's source.
func (v *MappedVolume) Attach(dst string) error {
	dir, err := sys.OpenDirNoFollow(path.Dir(dst))
	if err != nil {
		return err
	}
	defer dir.Close()
	target, err := dir.OpenPathAt(path.Base(dst))
	if err != nil {
		return err
	}
	defer target.Close()
	return moveTo(v.mount, target, dst)
}

// Close removes the mount, unless it is attached.
func (v *MappedVolume) Close() error { return v.mount.Close() }

// MapVolumes returns detached idmapped mounts of the volumes, or the errors of those for which that
// is impossible or refused. A volume through which a container writes files of the host's root must
// be one that other users cannot reach; see Private. Its files are not searched for hard links,
// unless it is a single file. Mounts of the kernel's own file systems below a source, such as /proc,
// are included as they are.
func MapVolumes(volumes []Volume) ([]MappedVolume, []VolumeError) {
	table, err := mountinfo.GetMounts(nil)
	if err != nil {
		return nil, []VolumeError{{0, fmt.Errorf("read the mount table: %w", err)}}
	}
	b := volumeMapper{table: table, namespaces: make(map[string]sys.File)}
	defer b.close()
	mapped := make([]MappedVolume, len(volumes))
	for i := range volumes {
		mapped[i].mount = b.mapVolume(i, &volumes[i])
	}
	b.checkExposed()
	if len(b.errs) == 0 {
		return mapped, nil
	}
	for i := range mapped {
		mapped[i].Close()
	}
	return nil, b.errs
}

// volumeMapper maps the volumes of a container.
type volumeMapper struct {
	table []*mountinfo.Info
	// namespaces holds a user namespace for each pair.
	namespaces map[string]sys.File
	// exposed are files that the container changes as the host's root.
	exposed []exposedFile
	errs    []VolumeError
}

type exposedFile struct {
	volume  int
	private *Private
}

func (b *volumeMapper) close() {
	for _, ns := range b.namespaces {
		ns.Close()
	}
	for _, e := range b.exposed {
		e.private.Close()
	}
}

func (b *volumeMapper) fail(volume int, err error) {
	if err != nil {
		b.errs = append(b.errs, VolumeError{volume, err})
	}
}

// mapVolume returns the detached mount of the volume, which is not open after an error.
func (b *volumeMapper) mapVolume(index int, v *Volume) (mount sys.File) {
	top, err := MountOf(v.Source, b.table)
	if err != nil {
		b.fail(index, err)
		return mount
	}
	host, err := os.Readlink(v.Source.Path())
	if err != nil {
		b.fail(index, err)
		return mount
	}
	if v.Recursive {
		mount, err = v.Source.CloneMountTree()
	} else {
		mount, err = v.Source.CloneMount()
	}
	if err != nil {
		b.fail(index, &UnmappableError{Path: host, FSType: top.FSType, err: err})
		return mount
	}
	ns, err := b.namespace(v.Pair)
	if err == nil {
		err = mount.SetTreePropagation(v.Private)
	}
	if err == nil && (v.ReadOnly || v.ReadOnlyBelow) {
		err = mount.MakeMountReadOnly(v.ReadOnlyBelow)
	}
	if err != nil {
		b.fail(index, err)
		return mount
	}
	if err := mount.IDMapMount(ns); err != nil {
		b.fail(index, &UnmappableError{Path: host, FSType: top.FSType, err: reason(top, err)})
		return mount
	}
	b.fail(index, b.checkOwner(v, host))
	if v.isExposed(top, v.ReadOnly) {
		b.fail(index, b.expose(index, v.Source.Path(), mount))
	}
	if v.Recursive {
		b.mapBelow(index, v, top, host, mount, ns)
	}
	return mount
}

func (b *volumeMapper) namespace(pair idmap.Pair) (sys.File, error) {
	key := pair.String()
	if ns, ok := b.namespaces[key]; ok {
		return ns, nil
	}
	ns, err := newNamespace(pair)
	if err == nil {
		b.namespaces[key] = ns
	}
	return ns, err
}

// mapBelow idmaps the mounts below the source of a volume in its detached mount.
func (b *volumeMapper) mapBelow(
	index int, v *Volume, top *mountinfo.Info, host string, mount, ns sys.File,
) {
	seen := []int{0}
	for _, m := range below(b.table, top, host) {
		if IsKernels(m.FSType) {
			continue
		}
		inner, _ := cutDir(m.Mountpoint, host)
		f, err := mount.OpenPathBelow(inner)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
			continue // covered by another mount
		}
		if err != nil {
			b.fail(index, fmt.Errorf("open the mount %s: %w", m.Mountpoint, err))
			continue
		}
		defer f.Close()
		id, err := f.MountID() // an unbindable mount is not in the clone
		if err != nil || slices.Contains(seen, id) {
			b.fail(index, err)
			continue
		}
		seen = append(seen, id)
		if err := f.IDMapMount(ns); err != nil {
			b.fail(index, &UnmappableError{m.Mountpoint, m.FSType, true, reason(m, err)})
			continue
		}
		if v.isExposed(m, v.ReadOnlyBelow) {
			b.fail(index, b.expose(index, m.Mountpoint, f))
		}
	}
}

// reason returns why a mount cannot be idmapped, if the kernel's error err does not say so.
func reason(m *mountinfo.Info, err error) error {
	if isMapped(m) {
		return errors.New("it is idmapped already")
	}
	return err
}

// Submounts returns the mount points of the mounts below an open directory, except those of the
// kernel's own file systems.
func Submounts(dir sys.File) (points []string, err error) {
	table, err := mountinfo.GetMounts(nil)
	if err != nil {
		return nil, fmt.Errorf("read the mount table: %w", err)
	}
	top, err := MountOf(dir, table)
	if err != nil {
		return nil, err
	}
	host, err := os.Readlink(dir.Path())
	if err != nil {
		return nil, err
	}
	for _, m := range below(table, top, host) {
		if !IsKernels(m.FSType) {
			points = append(points, m.Mountpoint)
		}
	}
	return points, nil
}

// below returns the mounts below a path on the mount top, those above others first.
func below(table []*mountinfo.Info, top *mountinfo.Info, host string) (found []*mountinfo.Info) {
	parents := []*mountinfo.Info{top}
	for len(parents) > 0 {
		parent := parents[0]
		parents = parents[1:]
		for _, m := range table {
			if m.Parent != parent.ID || m.ID == parent.ID {
				continue
			}
			if inner, ok := cutDir(m.Mountpoint, host); ok && inner != "" {
				found, parents = append(found, m), append(parents, m)
			}
		}
	}
	return found
}

// kernels are the types of file systems whose files belong to the kernel, not to a disk or a
// server, and that of lxcfs, whose files all users may read.
var kernels = []string{"proc", "sysfs", "cgroup", "cgroup2", "devtmpfs", "devpts", "mqueue",
	"securityfs", "debugfs", "tracefs", "bpf", "pstore", "configfs", "efivarfs", "binfmt_misc",
	"fusectl", "selinuxfs", "nsfs", "autofs", "rpc_pipefs", "resctrl", "fuse.lxcfs"}

// IsKernels reports whether a type of file system is one of the kernel itself, whose files have no
// owners on a disk.
func IsKernels(fsType string) bool { return slices.Contains(kernels, fsType) }

// isExposed reports whether the container can write files of the host's root on a mount.
func (v *Volume) isExposed(m *mountinfo.Info, readOnly bool) bool {
	isWritable := v.CanRemount || !readOnly && !HasOption(m.Options, "ro")
	_, root := v.Pair.UID.Host(0)
	_, group := v.Pair.GID.Host(0)
	return isWritable && (root || group)
}

// checkOwner fails if the owner of the source is none of the container's users: the kernel lets
// nobody change such a file.
func (b *volumeMapper) checkOwner(v *Volume, host string) error {
	i, err := v.Source.Statx()
	if err != nil || v.ReadOnly {
		return err
	}
	_, hasUser := v.Pair.UID.Host(i.UID)
	_, hasGroup := v.Pair.GID.Host(i.GID)
	if hasUser && hasGroup {
		return nil
	}
	return &OwnerError{Path: host, UID: i.UID, GID: i.GID}
}

// OwnerError is the error for a writable volume whose owner is unmapped, so that no process can
// change it.
type OwnerError struct {
	Path     string
	UID, GID uint32
}

func (e *OwnerError) Error() string {
	return fmt.Sprintf("%s belongs to %d:%d, which is not mapped", e.Path, e.UID, e.GID)
}

// expose adds the file at path, whose detached mount is open, to those that are checked.
func (b *volumeMapper) expose(volume int, path string, mount sys.File) error {
	f, err := sys.OpenPath(path)
	if err != nil {
		return err
	}
	b.exposed = append(b.exposed, exposedFile{volume, &Private{dir: f}})
	seen, err := f.Statx()
	if err != nil {
		return err
	}
	mounted, err := mount.Statx()
	if err == nil && walk.KeyOf(&seen) != walk.KeyOf(&mounted) {
		err = fmt.Errorf("the mount %s was moved meanwhile", path)
	}
	return err
}

// checkExposed checks that no other user can reach the exposed files.
func (b *volumeMapper) checkExposed() {
	var files []*Private
	for _, e := range b.exposed {
		files = append(files, e.private)
	}
	for i, err := range checkPaths(files) {
		b.fail(b.exposed[i].volume, err)
		b.fail(b.exposed[i].volume, checkSingle(files[i]))
	}
}

// checkSingle fails if the file is a single one that has other names.
func checkSingle(p *Private) error {
	i, err := p.dir.Statx()
	if err != nil || i.IsDir() || i.Links == 1 {
		return err
	}
	return fmt.Errorf("%s has %d hard links, want a file with one name", p.at.host, i.Links)
}
