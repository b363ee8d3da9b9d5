package lxcfs

import (
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"

	"palisade/internal/lxcfs/fusedev"
)

// Bits of the mask of access(2).
const (
	mayExecute = 1
	mayWrite   = 2
	mayRead    = 4
)

// openMasks are the masks of access(2) for O_RDONLY, O_WRONLY, O_RDWR, and all bits (ACC_MODE() in
// include/linux/fs.h).
var openMasks = [...]uint32{mayRead, mayWrite, mayRead | mayWrite, mayRead | mayWrite}

// Access returns an error unless the mode of a node lets the caller access it by mask. All nodes
// belong to root.
func (f *FS) Access(r *fusedev.Request, mask uint32) syscall.Errno {
	tree, err := f.subtree(r)
	if err != nil {
		return toErrno(err)
	}
	if r.UID == 0 && mask&mayExecute == 0 {
		return 0
	}
	var out fuse.AttrOut
	if _, err := tree.attr(r, &out); err != nil {
		return toErrno(err)
	}
	if !f.mayAccess(r, out.Mode, mask) {
		return syscall.EACCES
	}
	return 0
}

// mayAccess reports whether the mode of a file that belongs to root, or the caller's capabilities,
// let the caller access it by mask.
func (f *FS) mayAccess(r *fusedev.Request, mode, mask uint32) bool {
	if isAllowed(mode, r.UID, r.GID, mask) {
		return true
	}
	return isCapable(mode, f.finder.Capabilities(r.TID), mask)
}

// isHostProcess reports whether the caller is the host's root, in any mount namespace.
func (f *FS) isHostProcess(r *fusedev.Request) bool {
	return r.UID == 0 && f.finder.IsHostProcess(r.TID)
}

// isCapable reports whether the capabilities override the mode of a file (capabilities(7)).
func isCapable(mode uint32, capabilities uint64, mask uint32) bool {
	const dacOverride, dacReadSearch = 1 << 1, 1 << 2
	isDir := mode&syscall.S_IFMT == syscall.S_IFDIR
	switch {
	case mask&mayExecute != 0 && !isDir && mode&0o111 == 0:
		return false
	case capabilities&dacOverride != 0:
		return true
	}
	return capabilities&dacReadSearch != 0 && (mask == mayRead || isDir && mask&mayWrite == 0)
}

// isAllowed reports whether the mode of a file that belongs to root allows access by mask.
func isAllowed(mode, uid, gid, mask uint32) bool {
	switch {
	case uid == 0: // root needs an execute bit to execute, and no bit for anything else
		return mask&mayExecute == 0 || mode&0o111 != 0
	case gid == 0:
		mode >>= 3
	}
	return mask&^mode&7 == 0
}
