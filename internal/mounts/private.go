package mounts

import (
	"errors"
	"math/rand/v2"
	"path"
	"strconv"
	"strings"
	"syscall"

	"palisade/internal/sys"
)

// PrivateDir is the directory at the top of an lxcfs in which any number leads to a private tree: all
// of the served files once more, with inodes of their own. What the processes of a container do to the
// inodes of its files (leases, locks, inotify and fanotify watches, mmap) does not reach the files of
// another private tree.
const PrivateDir = "private"

// PrivateTreeBits is the size of the number of a private tree. It is chosen at random and not listed
// anywhere: no container can guess that of another.
const PrivateTreeBits = 55

// NewPrivateTree returns the path of a private tree that is not in use, relative to the mount point.
func NewPrivateTree() string {
	return path.Join(PrivateDir, strconv.FormatUint(rand.Uint64N(1<<PrivateTreeBits), 16))
}

// Reasons for which there are no private trees.
var (
	// ErrNoPrivateTrees: the server knows none, as lxcfs's C version.
	ErrNoPrivateTrees = errors.New("the server has no private trees")
	// ErrNotHost: the server shows them to the host's root alone.
	ErrNotHost = errors.New("the server takes this process for one of a container")
	// ErrClassic: on such a kernel what is mounted in a container has to be visible there.
	ErrClassic = errors.New("the kernel cannot mount descriptors (before Linux 5.2)")
)

// NoPrivateTree returns what the error of opening a file in a private tree says about there being none:
// ErrNoPrivateTrees or ErrNotHost; nil where it says nothing.
func NoPrivateTree(err error) error {
	switch {
	case errors.Is(err, syscall.ENOENT):
		return ErrNoPrivateTrees
	case errors.Is(err, syscall.ENOMEM):
		return ErrNotHost
	}
	return nil
}

// OpenTree opens a private tree of the lxcfs whose top directory is root; or the shared one, and shared
// is the reason why.
func OpenTree(root sys.File) (tree sys.File, shared, err error) {
	tree, err = root.OpenDirBelow(NewPrivateTree())
	if shared = NoPrivateTree(err); shared != nil {
		tree, err = root.OpenDirAt(".")
	}
	return tree, shared, err
}

// servedFile splits the root of a mount of lxcfs, as /proc/<pid>/mountinfo has it, into the path of the
// served file and whether that is in a private tree.
func servedFile(root string) (file string, private bool) {
	file = strings.TrimPrefix(root, "/")
	if inTree, ok := strings.CutPrefix(file, PrivateDir+"/"); ok {
		_, file, _ = strings.Cut(inTree, "/")
		return file, true
	}
	return file, false
}
