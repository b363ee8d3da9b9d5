package mounts

import (
	"errors"
	"fmt"
	"path"
	"strings"
	"syscall"

	"palisade/internal/sys"
)

// Place is a mount namespace, and a directory in it below which proc and sys are mounted.
type Place struct {
	// process is the directory in /proc of a process in the namespace.
	process sys.File
	ns      sys.File
	// Root is the directory: "/" for a container that runs, its root file system's path for one that is being started.
	Root string
	// Nested tells that the namespace is not that of a container's init, but one that was made inside. What came into
	// it from there cannot always be unmounted.
	Nested bool
	// IsLXC reports that it is part of a container of liblxc, which may have lxcfs as a whole.
	IsLXC bool
	// Host says which lxcfs are mounted on the host.
	Host Host
	// IsFinal reports whether all mounts of the runtime are there, or none that is missing covers a
	// file of proc or sys: only then Put mounts a second procfs and sysfs.
	IsFinal bool
	// ReadOnly are the mount points below Root that the runtime is yet to make read-only.
	ReadOnly []string
}

// ErrHostNamespace is the error for a process that is not in a mount namespace of its own.
var ErrHostNamespace = errors.New("the process is in the mount namespace of the host")

// ErrNoProc is the error for a place without a procfs.
var ErrNoProc = errors.New("no procfs is mounted on its proc")

// OpenPlace gets a hold of the mount namespace of the process whose directory in /proc is given, and which the Place
// borrows. It fails with ErrHostNamespace for the caller's own namespace.
func OpenPlace(process sys.File, root string) (*Place, error) {
	ns, err := process.OpenAt("ns/mnt")
	if err != nil {
		return nil, err
	}
	own, err := sys.Stat("/proc/thread-self/ns/mnt")
	if err == nil {
		var inode uint64
		if inode, err = ns.Inode(); err == nil && inode == own.Inode {
			err = ErrHostNamespace
		}
	}
	if err != nil {
		ns.Close()
		return nil, err
	}
	return &Place{process: process, ns: ns, Root: root}, nil
}

// Close lets go of the namespace.
func (p *Place) Close() { p.ns.Close() }

// Table reads the mount table of the place.
func (p *Place) Table() (*Table, error) {
	t, err := ReadTable(p.process)
	if err != nil {
		return nil, err
	}
	t.others = p.Host.Others
	return t, nil
}

// HasLxcfs tells whether there is a file of lxcfs in the namespace, dead or alive.
func (p *Place) HasLxcfs() bool {
	t, err := p.Table()
	return err == nil && len(t.Files()) > 0
}

// Namespace is the inode number of the mount namespace.
func (p *Place) Namespace() (uint64, error) { return p.ns.Inode() }

// fileState is how one file of a place is.
type fileState int

const (
	// onHost: nothing is mounted there.
	onHost fileState = iota
	// virtual: the file is that of the running lxcfs.
	virtual
	// stale: a file of another lxcfs, or one that the container shares with others, is mounted there.
	stale
	// foreign: something that is not lxcfs's is mounted on top.
	foreign
)

// target is a file of a place: the directory that holds it, and what is mounted on it.
type target struct {
	path  string // below the place's root: "proc/meminfo"
	point string // as the mount table has it
	dir   sys.File
	name  string
	base  *Mount
	stack []*Mount
	// outdated are mounts of lxcfs on files below the target, which is a directory: earlier versions
	// mounted single files. covered is that directory, opened before it is covered, to unmount them.
	// foreign is set if something else is mounted there.
	outdated [][]*Mount
	covered  sys.File
	foreign  bool
	// whole tells that its directory is one of lxcfs, the only mount of stack.
	whole bool
	// tree is a detached mount of its file.
	tree sys.File
}

// top is what is seen at the target, nil if nothing is mounted.
func (t *target) top() *Mount {
	if len(t.stack) == 0 {
		return nil
	}
	return t.stack[len(t.stack)-1]
}

// state returns the state of the target with respect to src.
func (v *visit) state(t *target, src *Source) fileState {
	top := t.top()
	switch {
	case top == nil && t.foreign:
		return foreign
	case top == nil:
		return onHost
	case src.isShownBy(top, t.path), t.whole && Device(top) == src.device:
		return virtual
	case v.table.onTop(t.stack) > 0:
		return stale
	}
	return foreign
}

// visit is one look at a place: its mount table, and a hold of the directories in it.
type visit struct {
	place *Place
	table *Table
	root  sys.File
	dirs  map[string]visitedDir
}

type visitedDir struct {
	file sys.File
	base *Mount
	err  error
}

func (p *Place) visit() (*visit, error) {
	table, err := p.Table()
	if err != nil {
		return nil, err
	}
	v := &visit{place: p, table: table, dirs: make(map[string]visitedDir)}
	// The magic link leads to the process's own root, as it is in its namespace.
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

func (v *visit) close() {
	v.root.Close()
	for _, d := range v.dirs {
		d.file.Close()
	}
}

var (
	// errNotKernels is the error for a directory that is on no procfs or sysfs.
	errNotKernels = errors.New("it is on no procfs or sysfs")
	// errLxcfsDir is the error for a directory that is a directory of lxcfs itself.
	errLxcfsDir = errors.New("it is a directory of lxcfs")
)

// dir gets a hold of a directory, which has to be on a procfs or sysfs that is mounted as a whole: on these no container
// can make a link or file of its own.
func (v *visit) dir(name string) visitedDir {
	d, ok := v.dirs[name]
	if !ok {
		d.file, d.base, d.err = v.openDir(name)
		v.dirs[name] = d
	}
	return d
}

func (v *visit) openDir(name string) (sys.File, *Mount, error) {
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

// topDir is the first part of a path.
func topDir(name string) string {
	top, _, _ := strings.Cut(name, "/")
	return top
}

func (v *visit) mountOf(f sys.File) (*Mount, error) {
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

// target looks at one file. It tells false if the place has no such file where it could be mounted.
func (v *visit) target(file string) (target, bool, error) {
	folder, name := path.Dir(file), path.Base(file)
	d := v.dir(folder)
	switch {
	case errors.Is(d.err, errLxcfsDir):
		return target{path: file, stack: []*Mount{d.base}, whole: true}, true, nil
	case errors.Is(d.err, syscall.ENOENT), errors.Is(d.err, errNotKernels), errors.Is(d.err, syscall.ELOOP),
		errors.Is(d.err, syscall.ENOTDIR):
		return target{}, false, nil
	case d.err != nil:
		return target{}, false, d.err
	}
	f, err := d.file.OpenPathAt(name)
	if errors.Is(err, syscall.ENOENT) {
		return target{}, false, nil
	} else if err != nil {
		return target{}, false, err
	}
	f.Close()
	point := path.Join(d.base.Mountpoint, strings.TrimPrefix(file, topDir(file)))
	t := target{
		path: file, point: point, dir: d.file, name: name,
		base: d.base, stack: v.table.stack(d.base, point),
	}
	v.classifyBelow(&t)
	return t, true, nil
}

// classifyBelow sets t.outdated and t.foreign by the mounts below the target. The masks of engines
// are neither: lxcfs does not serve what they mask.
func (v *visit) classifyBelow(t *target) {
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

// nameBelow returns the path of the stack's mount point, relative to the target.
func (t *target) nameBelow(stack []*Mount) string {
	return strings.TrimPrefix(stack[0].Mountpoint, t.point+"/")
}

// targets looks at all the files that the place has.
func (v *visit) targets(files []string) ([]target, error) {
	var targets []target
	for _, file := range files {
		t, ok, err := v.target(file)
		if err != nil {
			return nil, err
		}
		if ok {
			targets = append(targets, t)
		}
	}
	if len(targets) == 0 {
		return nil, ErrNoProc
	}
	return targets, nil
}
