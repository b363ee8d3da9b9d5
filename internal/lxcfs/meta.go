package lxcfs

import (
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"palisade/internal/inject/mounts"
	"palisade/internal/inject/probe"
	"palisade/internal/linux/sys"
	"palisade/internal/lxcfs/container"
	"palisade/internal/lxcfs/fusedev"
)

const (
	// fixedValid is how long the kernel may believe what it was told of the fixed tree, cpuDirValid of the CPU
	// directory, where CPUs come and go.
	fixedValid  = 24 * time.Hour
	cpuDirValid = time.Second
)

// meta answers what is not about open files: names, attributes and directories.
type meta struct {
	fuse.RawFileSystem
	fs *FS
}

func newMeta(f *FS) *meta { return &meta{fuse.NewDefaultRawFileSystem(), f} }

// Lookup finds a name in a directory.
func (m *meta) Lookup(_ <-chan struct{}, header *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	switch parent := header.NodeId; {
	case isContainers(parent) || parent == idRoot && name == probe.ContainersDir:
		return m.lookupContainers(header, name, out)
	case isCPUDir(parent):
		return m.lookupCPUDir(header, name, out)
	case parent == idPrivate:
		return m.lookupPrivate(header, name, out)
	}
	in, _ := splitNode(header.NodeId)
	n := m.fs.tree.child(header.NodeId, name)
	if n == nil {
		return fuse.ENOENT
	}
	return m.enter(header, in, n, out)
}

// lookupPrivate finds a private tree.
func (m *meta) lookupPrivate(header *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	in, ok := parseTree(name)
	if !ok {
		return fuse.ENOENT
	}
	return m.enter(header, in, m.fs.tree.node(idRoot), out)
}

// enter replies to a lookup that has found a node of the fixed tree. In a private tree only the
// host's root gets an entry, which the kernel must not cache, so that each lookup checks the
// caller. Other callers get ENOMEM: on any other error the kernel invalidates the dentry and
// unmounts the mounts on files below it (fuse_dentry_revalidate in fs/fuse/dir.c).
func (m *meta) enter(header *fuse.InHeader, in treeID, n *node, out *fuse.EntryOut) fuse.Status {
	if in == sharedTree {
		out.SetEntryTimeout(fixedValid)
	} else if !m.fs.isHostProcess(header) {
		return fuse.Status(syscall.ENOMEM)
	}
	id, err := in.node(n.id)
	if err != nil {
		return toStatus(err)
	}
	out.NodeId = id
	out.SetAttrTimeout(m.fs.attrValid(n))
	m.fs.fixedAttr(n, &out.Attr)
	return fuse.OK
}

// isHostProcess reports whether the caller is the host's root, in any mount namespace.
func (f *FS) isHostProcess(header *fuse.InHeader) bool {
	var s container.Scratch
	return header.Uid == 0 && f.finder.IsHostProcess(header.Pid, &s)
}

func (m *meta) lookupCPUDir(header *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	dir, err := m.fs.cpuDir.path(header.NodeId)
	if err != nil {
		return toStatus(err)
	}
	p, valid, err := m.fs.lookupCPUFile(header.Pid, dir, name)
	if err != nil {
		return toStatus(err)
	}
	info, err := m.fs.cpuDir.stat(p)
	if err != nil {
		return toStatus(err)
	}
	in, _ := splitNode(header.NodeId)
	base := m.fs.cpuDir.remember(p, info)
	if out.NodeId, err = in.node(base); err != nil {
		return toStatus(err)
	}
	out.SetEntryTimeout(valid)
	out.SetAttrTimeout(cpuDirValid)
	cpuDirAttr(base, info, &out.Attr)
	return fuse.OK
}

// GetAttr describes a file.
func (m *meta) GetAttr(_ <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	r := &fusedev.Request{Node: in.NodeId, UID: in.Uid, GID: in.Gid, TID: in.Pid}
	errno := m.fs.attr(r, out)
	if errno == 0 && m.fs.hasSize(r) {
		file, number := m.fs.handles.opened(r.Node, r.TID, m.fs.isSameProcess)
		out.Size = m.fs.size(r, file, number, m.fs.render)
	}
	return fuse.Status(errno)
}

// RescueAttr describes a node without the figures of a container.
func (f *FS) RescueAttr(r *fusedev.Request, out *fuse.AttrOut) syscall.Errno {
	errno := f.attr(r, out)
	if errno == 0 && f.hasSize(r) {
		file, number := f.handles.opened(r.Node, r.TID, f.isSameProcess)
		if file.h != nil {
			file = f.handles.renew(number)
		}
		out.Size = f.size(r, file, number, func(r *fusedev.Request, dst []byte) ([]byte, error) {
			return f.hostText(r, dst)
		})
	}
	return errno
}

// attr describes a node, with a size that does not depend on the reader.
func (f *FS) attr(r *fusedev.Request, out *fuse.AttrOut) syscall.Errno {
	if isContainers(r.Node) {
		return f.containersAttr(r, out)
	}
	if n := f.tree.node(r.Node); n != nil {
		out.SetTimeout(f.attrValid(n))
		f.fixedAttr(n, &out.Attr)
		return 0
	}
	p, err := f.cpuDir.path(r.Node)
	if err != nil {
		return toErrno(err)
	}
	info, err := f.cpuDir.stat(p)
	if err != nil {
		return toErrno(err)
	}
	out.SetTimeout(cpuDirValid)
	cpuDirAttr(sharedNode(r.Node), info, &out.Attr)
	return 0
}

// SetAttr changes nothing. It is asked for by open(2) with O_TRUNC: a shell that writes a trigger to a pressure file.
func (m *meta) SetAttr(_ <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	n := m.fs.tree.node(in.NodeId)
	if n == nil || !n.psi || in.Valid&^(fuse.FATTR_SIZE|fuse.FATTR_FH|fuse.FATTR_LOCKOWNER|fuse.FATTR_KILL_SUIDGID) != 0 {
		return fuse.EPERM
	}
	r := &fusedev.Request{Node: in.NodeId, UID: in.Uid, GID: in.Gid, TID: in.Pid}
	return fuse.Status(m.fs.attr(r, out))
}

// fileSize is the size of a file whose text is not known: a page, as in sysfs. With 0, as in
// procfs, sendfile(2) of Linux 6.5 and later takes a file for empty (filemap_splice_read()), and
// with it the cat of busybox.
const fileSize = 4096

// fixedAttr describes a node of the fixed tree. The times stay the same while this process serves:
// tar takes a file whose time changes for one that is written while it reads.
func (f *FS) fixedAttr(n *node, out *fuse.Attr) {
	out.Ino, out.Mode, out.Nlink, out.Blksize = n.id, n.mode, 1, 4096
	if n.isDir() {
		out.Nlink = 2
	} else {
		out.Size = fileSize
	}
	out.SetTimes(&f.made, &f.made, &f.made)
}

// cpuDirAttr describes a file of the host's sysfs, which nobody may write to.
func cpuDirAttr(id uint64, info sys.FileInfo, out *fuse.Attr) {
	out.Ino, out.Nlink, out.Blksize = id, 1, 4096
	out.Mode, out.Size = info.Mode, uint64(max(info.Size, 0))
	if !info.IsSymlink() {
		out.Mode &^= 0o222
	}
	now := time.Now()
	out.SetTimes(&now, &now, &now)
}

// Readlink tells where a symbolic link of the CPU directory leads.
func (m *meta) Readlink(_ <-chan struct{}, header *fuse.InHeader) ([]byte, fuse.Status) {
	p, err := m.fs.cpuDir.path(header.NodeId)
	if err != nil {
		return nil, toStatus(err)
	}
	target, err := m.fs.cpuDir.root.ReadlinkAt(append([]byte(p), 0), make([]byte, syscall.PathMax))
	return target, toStatus(err)
}

// OpenDir allows every process to list the directories that it can look up, except the directory of
// the private trees, which only the host's root may list: getdents(2) locks the directory until the
// caller's page faults are resolved, and no tree could be looked up until then.
func (m *meta) OpenDir(_ <-chan struct{}, in *fuse.OpenIn, _ *fuse.OpenOut) fuse.Status {
	if isContainers(in.NodeId) && !m.fs.isKeeper(in.Uid, in.Pid) {
		return fuse.ENOENT
	}
	if in.NodeId == idPrivate && !m.fs.isHostProcess(&in.InHeader) {
		return fuse.EACCES
	}
	return fuse.OK
}

// ReadDir lists a directory from the offset on, which counts its entries.
func (m *meta) ReadDir(_ <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	if isContainers(in.NodeId) {
		return m.readContainers(in, out)
	}
	entries, err := m.entries(in.NodeId, in.Pid)
	if err != nil {
		return toStatus(err)
	}
	if in.NodeId == idRoot && m.fs.isKeeper(in.Uid, in.Pid) {
		entries = append(entries,
			fuse.DirEntry{Name: probe.ContainersDir, Mode: syscall.S_IFDIR, Ino: idContainers},
			fuse.DirEntry{Name: mounts.PrivateDir, Mode: syscall.S_IFDIR, Ino: idPrivate})
	}
	for i := in.Offset; i < uint64(len(entries)); i++ {
		e := entries[i]
		e.Off = i + 1
		if !out.AddDirEntry(e) {
			break
		}
	}
	return fuse.OK
}

// entries lists a directory as the thread tid sees it.
func (m *meta) entries(id uint64, tid uint32) ([]fuse.DirEntry, error) {
	self := fuse.DirEntry{Name: ".", Mode: syscall.S_IFDIR, Ino: id}
	entries := []fuse.DirEntry{self, {Name: "..", Mode: syscall.S_IFDIR}}
	if !isCPUDir(id) {
		for _, n := range m.fs.tree.children(id) {
			entries = append(entries, fuse.DirEntry{Name: n.name, Mode: n.mode, Ino: n.id})
		}
		return entries, nil
	}
	dir, err := m.fs.cpuDir.path(id)
	if err != nil {
		return nil, err
	}
	listed, err := m.fs.listCPUDir(tid, dir)
	for _, e := range listed {
		ino := cpuDirBit | e.info.Inode
		entries = append(entries, fuse.DirEntry{Name: e.name, Mode: e.info.Mode, Ino: ino})
	}
	return entries, err
}

// StatFs describes a file system without blocks, as procfs is.
func (m *meta) StatFs(_ <-chan struct{}, _ *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	out.Bsize, out.NameLen = 4096, 255
	return fuse.OK
}

// Write takes a pressure trigger.
func (m *meta) Write(_ <-chan struct{}, in *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	n, err := m.fs.writeTrigger(in, data)
	return n, toStatus(err)
}

// toStatus is toErrno for go-fuse.
func toStatus(err error) fuse.Status {
	if err == nil {
		return fuse.OK
	}
	return fuse.Status(toErrno(err))
}

func isCPUDir(id uint64) bool {
	base := sharedNode(id)
	return base == idCPUDir || base&cpuDirBit != 0
}
