package lxcfs

import (
	"strconv"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"

	"palisade/internal/lxcfs/fusedev"
)

// meta answers the requests that are not for open files: names, attributes and directories.
type meta struct {
	fuse.RawFileSystem
	fs *FS
}

func newMeta(f *FS) *meta { return &meta{fuse.NewDefaultRawFileSystem(), f} }

func request(h *fuse.InHeader) *fusedev.Request {
	return &fusedev.Request{Node: h.NodeId, UID: h.Uid, GID: h.Gid, TID: h.Pid}
}

func status(err error) fuse.Status { return fuse.Status(toErrno(err)) }

// Lookup finds a name in a directory.
func (m *meta) Lookup(
	_ <-chan struct{}, header *fuse.InHeader, name string, out *fuse.EntryOut,
) fuse.Status {
	r := request(header)
	tree, err := m.fs.subtree(r)
	if err == nil {
		err = tree.lookup(r, name, out)
	}
	return status(err)
}

// GetAttr describes a node.
func (m *meta) GetAttr(_ <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	return fuse.Status(m.fs.getAttr(request(&in.InHeader), out, false))
}

// SetAttr changes nothing. The kernel sends it for an open(2) with O_TRUNC, as of a shell that
// writes a trigger to a pressure file.
func (m *meta) SetAttr(_ <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	const truncate = fuse.FATTR_SIZE | fuse.FATTR_FH | fuse.FATTR_LOCKOWNER |
		fuse.FATTR_KILL_SUIDGID
	if m.fs.fixed.pressureNode(in.NodeId) == nil || in.Valid&^truncate != 0 {
		return fuse.EPERM
	}
	_, err := m.fs.fixed.attr(request(&in.InHeader), out)
	return status(err)
}

// Readlink returns the target of a symbolic link. Only the sysfs tree has links.
func (m *meta) Readlink(_ <-chan struct{}, header *fuse.InHeader) ([]byte, fuse.Status) {
	target, err := m.fs.sysfs.readlink(request(header))
	return target, status(err)
}

// OpenDir allows every process to list the directories that it can look up, except the directory of
// the private trees, which only the host's root may list: getdents(2) locks the directory until the
// caller's page faults are resolved, and no tree could be looked up until then.
func (m *meta) OpenDir(_ <-chan struct{}, in *fuse.OpenIn, _ *fuse.OpenOut) fuse.Status {
	r := request(&in.InHeader)
	_, err := m.fs.subtree(r)
	if in.NodeId == idPrivate && !m.fs.isHostProcess(r) {
		err = syscall.EACCES
	}
	return status(err)
}

// ReadDir lists a directory from the position in.Offset on.
func (m *meta) ReadDir(_ <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	r := request(&in.InHeader)
	tree, err := m.fs.subtree(r)
	if err != nil {
		return status(err)
	}
	entries, err := tree.entries(r)
	if err != nil {
		return status(err)
	}
	dots := []fuse.DirEntry{
		{Name: ".", Mode: syscall.S_IFDIR, Ino: in.NodeId}, {Name: "..", Mode: syscall.S_IFDIR},
	}
	for i, e := range append(dots, entries...) {
		if e.Off == 0 {
			e.Off = uint64(i + 1)
		}
		if e.Off > in.Offset && !out.AddDirEntry(e) {
			break
		}
	}
	return fuse.OK
}

// StatFs describes a file system without blocks, as procfs.
func (m *meta) StatFs(_ <-chan struct{}, _ *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	out.Bsize, out.NameLen = 4096, 255
	return fuse.OK
}

// Write sets a pressure trigger.
func (m *meta) Write(_ <-chan struct{}, in *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	err := m.fs.writeTrigger(request(&in.InHeader), in.Fh, data)
	if err != nil {
		return 0, status(err)
	}
	return uint32(len(data)), fuse.OK
}

// The size of a file is the length of the content that its reader would get. Programs that copy
// files read exactly so many bytes, and the content may have another length a moment later. So the
// content whose length was told is kept for the first read, if the reader has opened the file. The
// kernel does not say for which open file it asks (fuse_getattr in fs/fuse/dir.c): it is the one
// that the same thread has opened last, or else another thread of its process.

// RescueAttr describes a node without the values of a container.
func (f *FS) RescueAttr(r *fusedev.Request, out *fuse.AttrOut) syscall.Errno {
	return f.getAttr(r, out, true)
}

// getAttr describes a node. With rescue its size is that of the host's content.
func (f *FS) getAttr(r *fusedev.Request, out *fuse.AttrOut, rescue bool) syscall.Errno {
	tree, err := f.subtree(r)
	if err != nil {
		return toErrno(err)
	}
	sized, err := tree.attr(r, out)
	// For a caller that cannot read the file no content is made.
	if err == nil && sized && !f.fixedSizes && f.mayAccess(r, out.Mode, mayRead) {
		out.Size = f.size(tree, r, rescue)
	}
	return toErrno(err)
}

// size returns the length of the content that the caller has begun to read, or else of one that is
// made now.
func (f *FS) size(tree subtree, r *fusedev.Request, rescue bool) uint64 {
	file := f.files.LastOpened(r.Node, r.TID, f.isPeer)
	render := func() ([]byte, error) { return f.render(tree, r, nil) }
	if rescue {
		file = file.Invalidate()
		render = func() ([]byte, error) { return tree.hostContent(r, nil) }
	}
	if length := file.Length(); length > 0 {
		return length
	}
	content, err := render()
	if err != nil {
		return fileSize
	}
	if len(content) == 0 {
		// The next reader's content may not be empty: sendfile(2) would assume an empty file, too.
		f.keepSize(r.Node) // it fails only if the inode is gone
		return 0
	}
	file.Prepare(content, r.TID)
	return uint64(len(content))
}

func (f *FS) isPeer(tid, other uint32) bool {
	path := strconv.Itoa(int(tid)) + "/task/" + strconv.Itoa(int(other))
	_, err := f.proc.StatAt(path)
	return err == nil
}
