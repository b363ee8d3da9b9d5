package lxcfs

import (
	"cmp"
	"slices"
	"strconv"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"

	"palisade/internal/lxcfs/container"
	"palisade/internal/lxcfs/fusedev"
	"palisade/internal/lxcfs/meter"
)

// containerTree is the directory containers. It has a directory for each container, by the pid of
// any of its processes, with the files of proc as the container reads them. It exists only for the
// host's root, so the kernel must cache nothing: each lookup checks the caller.
type containerTree struct{ fs *FS }

// isHostRoot reports whether the caller is root in the daemon's own user, pid and mount namespaces.
func (f *FS) isHostRoot(r *fusedev.Request) bool {
	return r.UID == 0 && f.finder.IsOwn(r.TID)
}

// pin pins the process of a node. It fails with ENOENT if that has ended or is in no container.
func (t *containerTree) pin(n containerNode) (container.Process, error) {
	p, err := t.pinPID(n.pid)
	if err == nil && startTicks(p.Start()) != n.start {
		p.Close()
		err = syscall.ENOENT
	}
	return p, err
}

func (t *containerTree) pinPID(pid int) (container.Process, error) {
	p, err := t.fs.finder.Pin(pid)
	if err != nil {
		return p, syscall.ENOENT
	}
	var s container.Scratch
	c, err := t.fs.find(uint32(pid), &s)
	if err == nil && c != nil {
		c.Release()
		if p.IsAlive() { // otherwise another process with this pid may have been found
			return p, nil
		}
	}
	p.Close()
	return p, syscall.ENOENT
}

func (t *containerTree) describe(id uint64, out *fuse.EntryOut) {
	out.NodeId = id
	t.fs.fixedAttr(id, containerMode(id), &out.Attr)
}

func (t *containerTree) lookup(r *fusedev.Request, name string, out *fuse.EntryOut) error {
	if r.Node == idContainers {
		pid, ok := parsePID(name)
		if !ok {
			return syscall.ENOENT
		}
		p, err := t.pinPID(pid)
		if err != nil {
			return err
		}
		defer p.Close()
		t.describe(containerNode{pid: pid, start: startTicks(p.Start())}.id(), out)
		return nil
	}
	n, ok := parseContainerNode(r.Node)
	file := t.fs.fixed.child(idProc, name)
	if !ok || n.file != 0 || file == nil || file.isDir() {
		return syscall.ENOENT
	}
	p, err := t.pin(n)
	if err != nil {
		return err
	}
	p.Close()
	n.file = file.id
	t.describe(n.id(), out)
	return nil
}

// entries lists a directory. The position of a container is its pid, so that a program that
// continues to list misses none while others come and go.
func (t *containerTree) entries(r *fusedev.Request) (entries []fuse.DirEntry, err error) {
	add := func(n containerNode, name string, position uint64) {
		entries = append(entries, fuse.DirEntry{
			Name: name, Mode: containerMode(n.id()), Ino: n.id(), Off: 2 + position,
		})
	}
	if n, ok := parseContainerNode(r.Node); ok {
		for _, file := range t.fs.fixed.byID {
			if file != nil && file.parent == idProc && !file.isDir() {
				n.file = file.id
				add(n, file.name, file.id)
			}
		}
	} else if !t.fs.off.Load() {
		for _, c := range t.fs.finder.All() {
			n := containerNode{pid: c.InitPID(), start: startTicks(c.Start())}
			add(n, strconv.Itoa(n.pid), uint64(n.pid))
			c.Release()
		}
	}
	slices.SortFunc(entries, func(a, b fuse.DirEntry) int { return cmp.Compare(a.Off, b.Off) })
	// Several containers may have the same init.
	isSame := func(a, b fuse.DirEntry) bool { return a.Off == b.Off }
	return slices.CompactFunc(entries, isSame), nil
}

func (t *containerTree) attr(r *fusedev.Request, out *fuse.AttrOut) (sized bool, err error) {
	n, ok := parseContainerNode(r.Node)
	if r.Node != idContainers {
		if !ok {
			return false, syscall.ENOENT
		}
		p, err := t.pin(n)
		if err != nil {
			return false, err
		}
		p.Close()
	}
	t.fs.fixedAttr(r.Node, containerMode(r.Node), &out.Attr)
	return n.file != 0, nil
}

// containerMode returns the mode of a node.
func containerMode(id uint64) uint32 {
	if n, _ := parseContainerNode(id); n.file != 0 {
		return syscall.S_IFREG | 0o400
	}
	return syscall.S_IFDIR | 0o500
}

// render appends what a process of the container gets when it reads the file.
func (t *containerTree) render(rd *reader, r *fusedev.Request, dst []byte) ([]byte, error) {
	n, ok := parseContainerNode(r.Node)
	file := t.fs.fixed.node(n.file)
	switch {
	case r.Node == idContainers, ok && n.file == 0:
		return dst, syscall.EISDIR
	case !ok || file == nil || file.parent != idProc || file.isDir():
		return dst, syscall.ENOENT
	}
	p, err := t.pin(n)
	if err != nil {
		return dst, err
	}
	defer p.Close()
	rd.tid, rd.file = uint32(n.pid), file.file
	out, ok := rd.renderFor(file.name, file.render, dst)
	if !ok {
		out, err = t.fs.hostFile(file, rd.tid, dst)
	}
	if !p.IsAlive() {
		return dst, syscall.ESRCH // as for files of /proc/<pid>
	}
	return out, err
}

// hostContent fails: the content would not be the container's.
func (t *containerTree) hostContent(_ *fusedev.Request, dst []byte) ([]byte, error) {
	return dst, syscall.EIO
}

func (t *containerTree) metered(id uint64) meter.File {
	n, _ := parseContainerNode(id)
	return t.fs.fixed.metered(n.file)
}
