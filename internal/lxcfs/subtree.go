package lxcfs

import (
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"

	"palisade/internal/lxcfs/fusedev"
	"palisade/internal/lxcfs/meter"
)

// subtree is a part of the served tree. The three parts differ in where their nodes come from: a
// table (fixedTree), the host's sysfs (cpuTree), and processes (containerTree). The id of a node
// says in which part it is.
type subtree interface {
	// lookup describes the entry name of the directory r.Node.
	lookup(r *fusedev.Request, name string, out *fuse.EntryOut) error
	// entries lists the directory r.Node, without "." and "..". An entry has its position in Off,
	// or 0 if that follows from its index.
	entries(r *fusedev.Request) ([]fuse.DirEntry, error)
	// attr describes r.Node, with a size that does not depend on the reader. It returns true if the
	// size should be the length of the reader's content.
	attr(r *fusedev.Request, out *fuse.AttrOut) (sized bool, err error)
	// render appends the content of the file r.Node for its reader.
	render(rd *reader, r *fusedev.Request, dst []byte) ([]byte, error)
	// hostContent appends the content that a reader of the host gets.
	hostContent(r *fusedev.Request, dst []byte) ([]byte, error)
	// metered returns the file as which a node is counted.
	metered(id uint64) meter.File
}

func (f *FS) subtreeOf(id uint64) subtree {
	switch {
	case isContainers(id):
		return &f.containers
	case isCPUDir(id):
		return f.cpus
	}
	return f.fixed
}

// subtree returns the part of the tree that has the request's node. The directory containers exists
// only for the host's root, also if another process gets an open file of it.
func (f *FS) subtree(r *fusedev.Request) (subtree, error) {
	if isContainers(r.Node) && !f.isHostRoot(r) {
		return nil, syscall.ENOENT
	}
	return f.subtreeOf(r.Node), nil
}
