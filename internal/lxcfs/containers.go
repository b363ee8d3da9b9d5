package lxcfs

import (
	"cmp"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"palisade/internal/lxcfs/container"
	"palisade/internal/lxcfs/fusedev"
)

// The folder containers has one for each container, by the pid of its init or of any other of its processes, with the files
// of proc as the container sees them. Only those who look after the host see it. The kernel asks at each step on the way to
// it who goes there, for it may keep nothing of what it was told: it would tell everybody else.

// isKeeper tells whether the thread tid, with the file system uid, looks after the host: it is root in the daemon's own user,
// pid and mount namespaces.
func (f *FS) isKeeper(uid, tid uint32) bool {
	var s container.Scratch
	return uid == 0 && f.finder.IsOwn(tid, &s)
}

// pinContained holds the process pid, if it is in a container; else the error is ENOENT.
func (f *FS) pinContained(pid int) (container.Pinned, error) {
	process, err := f.finder.Pin(pid)
	if err != nil {
		return process, syscall.ENOENT
	}
	var s container.Scratch
	c, err := f.find(uint32(pid), &s)
	if err == nil && c != nil {
		c.Release()
		if process.IsAlive() { // else the one that was found may have been another by that number
			return process, nil
		}
	}
	process.Close()
	return container.Pinned{}, syscall.ENOENT
}

// pinNode holds the process of a node.
func (f *FS) pinNode(n containerNode) (container.Pinned, error) {
	process, err := f.pinContained(n.pid)
	if err == nil && startTicks(process.Start()) != n.start {
		process.Close()
		return container.Pinned{}, syscall.ENOENT
	}
	return process, err
}

// childOfContainers finds a name in the root, in the folder with the containers, or in one of theirs.
func (f *FS) childOfContainers(parent uint64, name string) (uint64, error) {
	switch parent {
	case idRoot:
		return idContainers, nil
	case idContainers:
		pid, ok := parsePID(name)
		if !ok {
			return 0, syscall.ENOENT
		}
		process, err := f.pinContained(pid)
		if err != nil {
			return 0, err
		}
		defer process.Close()
		return containerNode{pid: pid, start: startTicks(process.Start())}.id(), nil
	}
	n, ok := parseContainerNode(parent)
	file := f.tree.child(idProc, name)
	if !ok || n.file != 0 || file == nil || file.isDir() {
		return 0, syscall.ENOENT
	}
	process, err := f.pinNode(n)
	if err != nil {
		return 0, err
	}
	process.Close()
	n.file = file.id
	return n.id(), nil
}

// renderContainers appends the text of a file in a container's folder: what the container gets when it reads the file.
func (f *FS) renderContainers(r *reader, id uint64, dst []byte) ([]byte, error) {
	n, ok := parseContainerNode(id)
	file := f.tree.node(n.file)
	switch {
	case id == idContainers, ok && n.file == 0:
		return dst, syscall.EISDIR
	case !ok || file == nil || file.parent != idProc || file.isDir():
		return dst, syscall.ENOENT
	}
	process, err := f.pinNode(n)
	if err != nil {
		return dst, err
	}
	defer process.Close()
	r.tid, r.file = uint32(n.pid), file.file
	out, ok := f.renderFor(r, file.name, file.render, dst)
	if !ok {
		out, err = f.host.Raw(file.host, dst)
	}
	if !process.IsAlive() {
		return dst, syscall.ESRCH // as a file of /proc/<pid> says it
	}
	return out, err
}

// containerMode is the mode of a node below the folder, or of the folder itself.
func containerMode(id uint64) uint32 {
	if n, _ := parseContainerNode(id); n.file != 0 {
		return syscall.S_IFREG | 0o400
	}
	return syscall.S_IFDIR | 0o500
}

func containersEntry(name string, id, offset uint64) fuse.DirEntry {
	return fuse.DirEntry{Name: name, Mode: containerMode(id), Ino: id, Off: offset}
}

// lookupContainers is Lookup for the folder and what lies below it.
func (m *meta) lookupContainers(header *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	if !m.fs.isKeeper(header.Uid, header.Pid) {
		return fuse.ENOENT
	}
	id, err := m.fs.childOfContainers(header.NodeId, name)
	if err != nil {
		return toStatus(err)
	}
	out.NodeId = id
	m.fs.fixedAttr(&node{id: id, mode: containerMode(id)}, &out.Attr)
	return fuse.OK
}

// containersAttr is attr for them.
func (f *FS) containersAttr(r *fusedev.Request, out *fuse.AttrOut) syscall.Errno {
	id := r.Node
	if !f.isKeeper(r.UID, r.TID) {
		return syscall.ENOENT
	}
	if id != idContainers {
		n, ok := parseContainerNode(id)
		if !ok {
			return syscall.ENOENT
		}
		process, err := f.pinNode(n)
		if err != nil {
			return toErrno(err)
		}
		process.Close()
	}
	f.fixedAttr(&node{id: id, mode: containerMode(id)}, &out.Attr)
	return 0
}

// readContainers is ReadDir for them. The offset of a container is made of its pid, so that who lists on misses none while
// others come and go.
func (m *meta) readContainers(in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	if !m.fs.isKeeper(in.Uid, in.Pid) {
		return fuse.ENOENT
	}
	entries := []fuse.DirEntry{containersEntry(".", in.NodeId, 1), {Name: "..", Mode: syscall.S_IFDIR, Off: 2}}
	if n, ok := parseContainerNode(in.NodeId); ok {
		entries = append(entries, m.filesOfContainer(n)...)
	} else {
		entries = append(entries, m.knownContainers()...)
	}
	slices.SortFunc(entries, func(a, b fuse.DirEntry) int { return cmp.Compare(a.Off, b.Off) })
	for _, e := range entries {
		if e.Off > in.Offset && !out.AddDirEntry(e) {
			break
		}
	}
	return fuse.OK
}

// filesOfContainer are the entries of a container's folder.
func (m *meta) filesOfContainer(n containerNode) (entries []fuse.DirEntry) {
	for _, file := range m.fs.tree.children(idProc) {
		if !file.isDir() {
			n.file = file.id
			entries = append(entries, containersEntry(file.name, n.id(), 2+file.id))
		}
	}
	return entries
}

// knownContainers are the containers that somebody has asked for, or that have read a file.
func (m *meta) knownContainers() []fuse.DirEntry {
	if m.fs.off.Load() {
		return nil
	}
	starts := make(map[int]time.Duration)
	for _, c := range m.fs.finder.All() {
		starts[c.InitPID()] = c.Start()
		c.Release()
	}
	entries := make([]fuse.DirEntry, 0, len(starts))
	for pid, start := range starts {
		id := containerNode{pid: pid, start: startTicks(start)}.id()
		entries = append(entries, containersEntry(strconv.Itoa(pid), id, 2+uint64(pid)))
	}
	return entries
}
