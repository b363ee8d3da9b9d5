package mounts

import (
	"errors"
	"fmt"
	"path"
	"strings"
	"syscall"

	"palisade/internal/linux/sys"
)

// MountNS is a mount namespace with a directory in it below which proc and sys are mounted.
type MountNS struct {
	// process is the directory in /proc of a process in the namespace.
	process sys.File
	ns      sys.File
	// Root is "/" for a running container, and the path of its root file system for one that is
	// being started.
	Root string
	// Nested is set for a namespace created inside a container. Mounts that it got from the
	// container's init cannot always be unmounted.
	Nested bool
	// IsLXC is set for a container of liblxc, in which a whole lxcfs may be mounted.
	IsLXC bool
	// Host lists the lxcfs that are mounted on the host.
	Host Host
	// IsFinal is set if the runtime has made all its mounts, or those still to come cover no file
	// of proc or sys. Only then Put mounts a second procfs and sysfs.
	IsFinal bool
	// ReadOnly lists the mount points below Root that the runtime will make read-only later.
	ReadOnly []string
}

// ErrHostNamespace is the error for a process that is not in a mount namespace of its own.
var ErrHostNamespace = errors.New("the process is in the mount namespace of the host")

// ErrNoProc is the error for a mount namespace without a procfs on /proc.
var ErrNoProc = errors.New("no procfs is mounted on /proc")

// OpenMountNS opens the mount namespace of a process, given its directory in /proc, which must stay
// open as long as the MountNS. It fails with ErrHostNamespace for the caller's own namespace.
func OpenMountNS(process sys.File, root string) (*MountNS, error) {
	ns, err := process.OpenAt("ns/mnt")
	if err != nil {
		return nil, err
	}
	own, err := sys.Stat("/proc/thread-self/ns/mnt")
	if err == nil {
		var inode uint64
		if inode, err = ns.Inode(); err == nil && inode == own.Number {
			err = ErrHostNamespace
		}
	}
	if err != nil {
		ns.Close()
		return nil, err
	}
	return &MountNS{process: process, ns: ns, Root: root}, nil
}

// Close closes the namespace, but not the directory of the process.
func (p *MountNS) Close() { p.ns.Close() }

// Table reads the mount table of the namespace.
func (p *MountNS) Table() (*Table, error) {
	t, err := ReadTable(p.process)
	if err != nil {
		return nil, err
	}
	t.others = p.Host.Others
	return t, nil
}

// HasLxcfs reports whether a file of lxcfs, dead or alive, is mounted in the namespace.
func (p *MountNS) HasLxcfs() bool {
	t, err := p.Table()
	return err == nil && len(t.Files()) > 0
}

// Namespace returns the inode number of the mount namespace.
func (p *MountNS) Namespace() (uint64, error) { return p.ns.Inode() }

// target is a file or directory of a container on which lxcfs is mounted, or will be.
type target struct {
	mountStack
	path string // below the root of the MountNS: "proc/meminfo"
	// outdated are mounts of lxcfs on files below the target, which is a directory: earlier
	// versions mounted single files. covered is that directory, opened before it is covered, to
	// unmount them. foreign is set if something else is mounted there.
	outdated [][]*Mount
	covered  sys.File
	foreign  bool
	// whole is set if its directory is on an lxcfs, the only mount of stack.
	whole bool
	// tree is a detached mount of its file.
	tree sys.File
}

// state reports whether the file of src is mounted on the target, or something other than lxcfs.
func (v *snapshot) state(t *target, src *Source) (isVirtual, isForeign bool) {
	top := t.top()
	isVirtual = src.isShownBy(top, t.path) || t.whole && Device(top) == src.device
	isForeign = !isVirtual && v.table.onTop(t.stack) == 0 && (top != nil || t.foreign)
	return isVirtual, isForeign
}

// snapshot is a mount table of a MountNS, with the directories that were opened in it.
type snapshot struct {
	mountNS *MountNS
	table   *Table
	root    sys.File
	dirs    map[string]snapshotDir
}

type snapshotDir struct {
	file sys.File
	base *Mount
	err  error
}

func (p *MountNS) snapshot() (*snapshot, error) {
	table, err := p.Table()
	if err != nil {
		return nil, err
	}
	v := &snapshot{mountNS: p, table: table, dirs: make(map[string]snapshotDir)}
	// This magic link leads to the root of the process in its own mount namespace.
	processRoot, err := p.process.OpenDirAt("root")
	if err != nil {
		return nil, err
	}
	defer processRoot.Close()
	if v.root, err = processRoot.OpenDirInRoot(p.Root); err != nil {
		return nil, err
	}
	return v, nil
}

func (v *snapshot) close() {
	v.root.Close()
	for _, d := range v.dirs {
		d.file.Close()
	}
}

var (
	// errNotKernels is the error for a directory that is not on a procfs or sysfs.
	errNotKernels = errors.New("not on a procfs or sysfs")
	// errLxcfsDir is the error for a directory on an lxcfs.
	errLxcfsDir = errors.New("on an lxcfs")
)

// dir opens a directory, which must be on a procfs or sysfs that is mounted as a whole: there no
// container can create a file or link.
func (v *snapshot) dir(name string) snapshotDir {
	d, ok := v.dirs[name]
	if !ok {
		d.file, d.base, d.err = v.openDir(name)
		v.dirs[name] = d
	}
	return d
}

func (v *snapshot) openDir(name string) (sys.File, *Mount, error) {
	f, err := v.root.OpenDirBelow(name)
	if err != nil {
		return sys.File{}, nil, err
	}
	base, err := v.mountOf(f)
	switch {
	case err != nil:
	case base.FSType == FSType:
		err = errLxcfsDir
	case !isKernelFS(base) || path.Base(base.Mountpoint) != topDir(name):
		err = errNotKernels
	}
	if err != nil {
		f.Close()
		return sys.File{}, base, fmt.Errorf("use %s: %w", name, err)
	}
	return f, base, nil
}

func topDir(name string) string {
	top, _, _ := strings.Cut(name, "/")
	return top
}

func (v *snapshot) mountOf(f sys.File) (*Mount, error) {
	id, err := f.MountID()
	if err != nil {
		return nil, err
	}
	m, ok := v.table.byID[id]
	if !ok {
		return nil, fmt.Errorf("mount %d is not in the mount table of the process", id)
	}
	return m, nil
}

// classifyBelow sets t.outdated and t.foreign by the mounts below the target. The masks of engines
// are neither: lxcfs does not serve what they mask.
func (v *snapshot) classifyBelow(t *target) {
	for _, stack := range v.table.below(t.base, t.point) {
		mask, _ := path.Match("cpu[0-9]*/thermal_throttle", t.nameBelow(stack))
		switch {
		case v.table.onTop(stack) == len(stack):
			t.outdated = append(t.outdated, stack)
		case !mask:
			t.foreign = true
		}
	}
}

func (t *target) nameBelow(stack []*Mount) string {
	return strings.TrimPrefix(stack[0].Mountpoint, t.point+"/")
}

// targets returns the targets for the files that the container has on a procfs or sysfs.
func (v *snapshot) targets(files []string) (targets []target, err error) {
	for _, file := range files {
		d := v.dir(path.Dir(file))
		switch {
		case errors.Is(d.err, errLxcfsDir):
			t := target{path: file, whole: true}
			t.stack = []*Mount{d.base}
			targets = append(targets, t)
			continue
		case errors.Is(d.err, syscall.ENOENT), errors.Is(d.err, errNotKernels),
			errors.Is(d.err, syscall.ELOOP), errors.Is(d.err, syscall.ENOTDIR):
			continue
		case d.err != nil:
			return nil, d.err
		}
		f, err := d.file.OpenPathAt(path.Base(file))
		if errors.Is(err, syscall.ENOENT) {
			continue
		} else if err != nil {
			return nil, err
		}
		f.Close()
		point := path.Join(d.base.Mountpoint, strings.TrimPrefix(file, topDir(file)))
		t := target{path: file, mountStack: v.table.stackOn(d.base, point)}
		t.dir = d.file
		v.classifyBelow(&t)
		targets = append(targets, t)
	}
	if len(targets) == 0 {
		return nil, ErrNoProc
	}
	return targets, nil
}
