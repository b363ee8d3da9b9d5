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
	// CheckLinks checks the files of a volume that the container writes as the host's root. If it is
	// nil, only the source itself is checked.
	CheckLinks LinkCheck
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

// Unwrap returns ErrUnsupported and the kernel's error.
func (e *UnmappableError) Unwrap() []error { return []error{ErrUnsupported, e.err} }

// MappedVolume holds detached idmapped mounts of a volume.
type MappedVolume struct {
	top sys.File
	// below are the mounts below the source, at paths that are relative to it.
	below []mountBelow
}

type mountBelow struct {
	path  string
	mount sys.File
}

// Attach mounts the volume on the file or directory at dst, which must be one or the other like the
// volume's source. After an error some of its mounts may be attached.
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
	if err := moveTo(v.top, target, dst); err != nil {
		return err
	}
	// A mount can be attached only to one that is attached itself, before Linux 6.15.
	for _, b := range v.below {
		if err := v.attachBelow(b); err != nil {
			return err
		}
	}
	return nil
}

func (v *MappedVolume) attachBelow(b mountBelow) error {
	target, err := v.top.OpenPathBelow(b.path)
	if err != nil {
		return err
	}
	defer target.Close()
	return moveTo(b.mount, target, b.path)
}

// Close removes the mounts, unless they are attached.
func (v *MappedVolume) Close() {
	v.top.Close()
	for _, b := range v.below {
		b.mount.Close()
	}
}

// MapVolumes returns detached idmapped mounts of the volumes, and the errors of those for which that
// is impossible or refused, whose mounts are closed. A volume through which a container writes
// files of the host's root must be one that other users cannot reach; see Private. Mounts of the
// kernel's own file systems below a source, such as /proc, are included as they are. The caller
// closes the mounts.
func MapVolumes(volumes []Volume, namespaces *Namespaces) ([]MappedVolume, []VolumeError) {
	if len(volumes) == 0 {
		return nil, nil
	}
	table, err := mountinfo.GetMounts(nil)
	if err != nil {
		return nil, []VolumeError{{0, fmt.Errorf("read the mount table: %w", err)}}
	}
	b := volumeMapper{table: table, namespaces: namespaces}
	defer b.close()
	mapped := make([]MappedVolume, len(volumes))
	for i := range volumes {
		mapped[i] = b.mapVolume(i, &volumes[i])
	}
	b.checkExposed()
	for _, e := range b.errs {
		mapped[e.Index].Close()
	}
	return mapped, b.errs
}

// volumeMapper maps the volumes of a container.
type volumeMapper struct {
	table      []*mountinfo.Info
	namespaces *Namespaces
	// exposed are files that the container changes as the host's root.
	exposed []exposedFile
	errs    []VolumeError
}

type exposedFile struct {
	volume     int
	private    *Private
	checkLinks LinkCheck
}

func (b *volumeMapper) close() {
	for _, e := range b.exposed {
		e.private.Close()
	}
}

func (b *volumeMapper) fail(volume int, err error) {
	if err != nil {
		b.errs = append(b.errs, VolumeError{volume, err})
	}
}

func (b *volumeMapper) mapVolume(index int, v *Volume) (mapped MappedVolume) {
	host, top, err := findMount(v.Source, b.table)
	if err != nil {
		b.fail(index, err)
		return mapped
	}
	if mapped.top, err = b.mapMount(index, v, v.Source, top, false); err != nil {
		b.fail(index, err)
		return mapped
	}
	if !v.Recursive {
		return mapped
	}
	for _, m := range below(b.table, top, host) {
		mount, err := b.mapBelow(index, v, m)
		b.fail(index, err)
		if mount.IsOpen() {
			inner, _ := cutDir(m.Mountpoint, host)
			mapped.below = append(mapped.below, mountBelow{inner, mount})
		}
	}
	return mapped
}

// mapBelow returns the detached mount of one below the source, which is not open if another mount
// covers that.
func (b *volumeMapper) mapBelow(
	index int, v *Volume, m *mountinfo.Info,
) (mount sys.File, err error) {
	file, err := sys.OpenPath(m.Mountpoint)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return mount, nil
	}
	if err != nil {
		return mount, err
	}
	defer file.Close()
	if id, err := file.MountID(); err != nil || id != m.ID {
		return mount, err
	}
	return b.mapMount(index, v, file, m, true)
}

// mapMount returns a detached mount of the file on the mount m, idmapped unless it is one of the
// kernel's.
func (b *volumeMapper) mapMount(
	index int, v *Volume, file sys.File, m *mountinfo.Info, isBelow bool,
) (mount sys.File, err error) {
	if mount, err = file.CloneMount(); err != nil {
		return mount, b.unmappable(file, m, isBelow, err)
	}
	readOnly := v.ReadOnlyBelow || v.ReadOnly && !isBelow
	if err := mount.LimitVolume(readOnly, v.Private); err != nil {
		return mount, err
	}
	if isBelow && IsKernels(m.FSType) {
		return mount, nil
	}
	ns, err := b.namespaces.Get(v.Pair)
	if err != nil {
		return mount, err
	}
	if err := mount.IDMapMount(ns); err != nil {
		return mount, b.unmappable(file, m, isBelow, err)
	}
	if !v.isExposed(m, readOnly) {
		return mount, nil
	}
	exposed, err := sys.OpenPath(file.Path())
	if err == nil {
		b.exposed = append(b.exposed, exposedFile{index, &Private{dir: exposed}, v.CheckLinks})
	}
	return mount, err
}

func (b *volumeMapper) unmappable(
	file sys.File, m *mountinfo.Info, isBelow bool, err error,
) error {
	host, linkErr := os.Readlink(file.Path())
	if linkErr != nil {
		return linkErr
	}
	if isMapped(m) {
		err = errors.New("it is idmapped already")
	}
	return &UnmappableError{host, m.FSType, isBelow, err}
}

// Submounts returns the mount points of the mounts below an open directory, except those of the
// kernel's own file systems.
func Submounts(dir sys.File) (points []string, err error) {
	table, err := mountinfo.GetMounts(nil)
	if err != nil {
		return nil, fmt.Errorf("read the mount table: %w", err)
	}
	host, top, err := findMount(dir, table)
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

// findMount returns the path of an open file and its mount.
func findMount(f sys.File, table []*mountinfo.Info) (host string, m *mountinfo.Info, err error) {
	if host, err = os.Readlink(f.Path()); err != nil {
		return "", nil, err
	}
	if m, err = MountOf(f, table); err != nil {
		return "", nil, fmt.Errorf("%s: %w", host, err)
	}
	return host, m, nil
}

// below returns the mounts below a path on the mount top, those above others first. Like a recursive
// bind mount, it leaves out unbindable mounts, with those below them.
func below(table []*mountinfo.Info, top *mountinfo.Info, host string) (found []*mountinfo.Info) {
	parents := []*mountinfo.Info{top}
	for len(parents) > 0 {
		parent := parents[0]
		parents = parents[1:]
		for _, m := range table {
			if m.Parent != parent.ID || m.ID == parent.ID || HasOption(m.Optional, "unbindable") {
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

// checkExposed checks that no other user can reach the exposed files.
func (b *volumeMapper) checkExposed() {
	var files []*Private
	for _, e := range b.exposed {
		files = append(files, e.private)
	}
	for i, err := range checkPaths(files) {
		e := b.exposed[i]
		if err == nil && e.checkLinks != nil {
			err = e.checkLinks(files[i].dir)
		} else if err == nil {
			err = checkSingle(files[i])
		}
		b.fail(e.volume, err)
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
