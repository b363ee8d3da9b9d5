package mounts

import (
	"errors"
	"math/rand/v2"
	"path"
	"strconv"
	"syscall"

	"palisade/internal/linux/sys"
)

// PrivateDir is the directory at the top of an lxcfs mount that contains the private trees, by
// number: copies of all served files with inodes of their own. Leases, locks, inotify and fanotify
// watches and mmaps that the processes of a container have on the inodes of one tree do not affect
// another.
const PrivateDir = "private"

// CPUDir and NodeDir are the directories with the CPUs and the NUMA nodes of the machine, relative
// to the root of a container and to the mount point of an lxcfs. They are mounted as a whole.
const (
	CPUDir  = "sys/devices/system/cpu"
	NodeDir = "sys/devices/system/node"
)

// Dirs lists the directories that are mounted as a whole. Kernels without NUMA, and earlier versions
// of lxcfs, do not have all of them.
func Dirs() []string { return []string{CPUDir, NodeDir} }

// PrivateTreeBits is the size of the number of a private tree, in bits.
const PrivateTreeBits = 55

// ProbeTree is the path, relative to the mount point, of a private tree that no container gets. All
// probes of the server share it, since the kernel caches each name that is looked up.
const ProbeTree = PrivateDir + "/0"

// newPrivateTree returns the path of a private tree with a random number from 1 to 2^55-1, which no
// other container is likely to have.
func newPrivateTree() string {
	return path.Join(PrivateDir, strconv.FormatUint(1+rand.Uint64N(1<<PrivateTreeBits-1), 16))
}

// Reasons why private trees cannot be used.
var (
	// ErrNoPrivateTrees is for a server without them, such as lxcfs's C version.
	ErrNoPrivateTrees = errors.New("the server has no private trees")
	// ErrNotHost is for a process other than the host's root, to which the server does not show
	// them.
	ErrNotHost = errors.New("the server takes this process for one of a container")
	// ErrClassic is for a kernel on which the source of a mount must be visible in the container.
	ErrClassic = errors.New("the kernel cannot mount from a descriptor (before Linux 5.2)")
)

// NoPrivateTree maps the error from opening a file in a private tree to ErrNoPrivateTrees or
// ErrNotHost. It returns nil for any other error.
func NoPrivateTree(err error) error {
	switch {
	case errors.Is(err, syscall.ENOENT):
		return ErrNoPrivateTrees
	case errors.Is(err, syscall.ENOMEM):
		return ErrNotHost
	}
	return nil
}

// OpenTree opens the private tree at path, relative to root, the top directory of an lxcfs mount.
// If there are no private trees it opens the shared tree, and shared is the reason.
func OpenTree(root sys.File, path string) (tree sys.File, shared, err error) {
	tree, err = root.OpenDirBelow(path)
	if shared = NoPrivateTree(err); shared != nil {
		tree, err = root.OpenDirAt(".")
	}
	return tree, shared, err
}
