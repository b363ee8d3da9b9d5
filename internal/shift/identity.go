package shift

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"

	"palisade/internal/sys"
)

// identity names a file whatever its names are: it is a digest of the file's handle, which has the
// generation of the inode, so that a later file with the same inode number has another identity.
// Where the file system has no handles, as an overlay, it is one of the inode number. It does not
// change with a reboot.
type identity string

// identifier names the files of a tree.
type identifier struct {
	// fileSystem distinguishes the tree's file system from others.
	fileSystem []byte
}

// newIdentifier returns the identifier of the tree with this root. isKept reports whether the file
// system itself keeps what is recorded: then nothing of another one can be taken for it.
func newIdentifier(root sys.File, i *sys.Inode, fsType int64, isKept bool) (identifier, error) {
	switch {
	case fsType == sys.ExtMagic || fsType == sys.BtrfsMagic: // by their UUID
		id, err := root.FSID()
		return identifier{fmt.Append(nil, id)}, err
	case fsType == sys.XFSMagic: // the root directories of all have the same handle
		id, err := root.XFSUUID()
		return identifier{id[:]}, err
	case isKept || fsType == sys.NFSMagic: // whose handles have the server's file system in them
		return identifier{}, nil
	}
	boot, err := sys.ReadFile("/proc/sys/kernel/random/boot_id", nil)
	return identifier{fmt.Append(boot, i.FileSystem)}, err
}

// of returns the identity of the file name in the directory dir, an empty name being dir.
func (n *identifier) of(dir sys.File, name sys.Name) (identity, error) {
	kind := "handle"
	id, err := dir.Handle(name)
	if err == nil && id == nil {
		var i sys.Inode
		err = dir.InodeAt(name, &i)
		kind, id = "inode", binary.LittleEndian.AppendUint64(nil, i.Number)
	}
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%x\x00%x", kind, n.fileSystem, id))
	return identity(hex.EncodeToString(sum[:16])), nil
}

var noName = sys.Name{0}

// ofOpen returns the identity of a file that is open.
func (n *identifier) ofOpen(f sys.File) (identity, error) { return n.of(f, noName) }
