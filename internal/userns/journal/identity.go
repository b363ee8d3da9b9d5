package journal

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"

	"palisade/internal/linux/sys"
)

// Identity identifies a file independently of its name, across reboots. It is a digest of the file
// handle, which includes the generation of the inode, so that a later file with the same inode
// number has another identity. Where the file system has no handles, such as an overlay, it is a
// digest of the inode number.
type Identity string

type identifier struct {
	// fileSystem identifies the tree's file system.
	fileSystem []byte
}

// newIdentifier returns the identifier for the tree with this root. isKept reports whether records
// are kept in the file system itself: then they cannot be confused with those of another one.
func newIdentifier(root sys.File, i *sys.Inode, fsType int64, isKept bool) (identifier, error) {
	switch {
	case fsType == sys.ExtMagic || fsType == sys.BtrfsMagic: // derived from the UUID
		id, err := root.FSID()
		return identifier{fmt.Append(nil, id)}, err
	case fsType == sys.XFSMagic: // all XFS root directories have the same handle
		id, err := root.XFSUUID()
		return identifier{id[:]}, err
	case isKept || fsType == sys.NFSMagic: // NFS handles include the server's file system
		return identifier{}, nil
	}
	boot, err := sys.ReadFile("/proc/sys/kernel/random/boot_id", nil)
	return identifier{fmt.Append(boot, i.FileSystem)}, err
}

// IdentityOf returns the identity of an open file.
func (n *identifier) IdentityOf(f sys.File) (Identity, error) {
	kind := "handle"
	id, err := f.Handle(sys.Name{0})
	if err == nil && id == nil {
		var i sys.Inode
		i, err = f.Statx()
		kind, id = "inode", binary.LittleEndian.AppendUint64(nil, i.Number)
	}
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%x\x00%x", kind, n.fileSystem, id))
	return Identity(hex.EncodeToString(sum[:16])), nil
}
