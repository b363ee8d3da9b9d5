package lxcfs

import (
	"strconv"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"

	"palisade/internal/lxcfs/fusedev"
)

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
	if err == nil && sized && f.mayAccess(r, out.Mode, mayRead) {
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
