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

// PrivateTreeBits is the size of the number of a private tree.
const PrivateTreeBits = 55

// ProbeTree is the path of the private tree that no container gets, relative to the mount point. It is the
// same for all who look whether the server answers, since the kernel caches each name that is looked up.
const ProbeTree = PrivateDir + "/0"

// newPrivateTree returns the path of a private tree that no container has: of numbers from 1 on, one that
// was drawn before comes up again once in 2^55 times.
func newPrivateTree() string {
	return path.Join(PrivateDir, strconv.FormatUint(1+rand.Uint64N(1<<PrivateTreeBits-1), 16))
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

// OpenTree opens a tree at path, ProbeTree or a new one, of the lxcfs whose top directory is root; or the
// shared one, and shared is the reason why.
func OpenTree(root sys.File, path string) (tree sys.File, shared, err error) {
	tree, err = root.OpenDirBelow(path)
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
