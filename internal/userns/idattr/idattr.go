// Package idattr translates the ids in extended attributes: file capabilities and POSIX access
// control lists. It is pure.
package idattr

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"palisade/internal/oci/idmap"
)

// Caps is the extended attribute of file capabilities (capabilities(7)).
const Caps = "security.capability"

// Revisions in the first word of the attribute, and sizes of the attribute (linux/capability.h).
const (
	capsRevisionMask = 0xff000000
	capsRevision1    = 0x01000000
	capsRevision2    = 0x02000000
	capsRevision3    = 0x03000000

	capsSize1 = 12
	capsSize2 = 20
	capsSize3 = 24 // with the uid of the user namespace's root
)

// TranslateCaps returns file capabilities with a translated root uid, value itself if it does not
// change, and the Kind of that uid. Revisions 1 and 2 are valid on the host, and so have the root
// uid 0; a shift makes them revision 3, which is valid only in the user namespace with that root.
// The change back restores revision 2.
func TranslateCaps(
	value []byte, uids *idmap.Translation,
) (result []byte, kind idmap.Kind, err error) {
	root, err := CapsRoot(value)
	if err != nil {
		return nil, 0, err
	}
	to, kind := uids.To(root)
	if to == root {
		return value, kind, nil
	}
	if to == 0 {
		return setRevision(value, capsRevision2), kind, nil
	}
	result = setRevision(value, capsRevision3)
	for len(result) < capsSize2 {
		result = append(result, 0) // revision 1 has one word for each set, later ones have two
	}
	return binary.LittleEndian.AppendUint32(result, to), kind, nil
}

// setRevision returns a copy of the capabilities with another revision, without the root uid.
func setRevision(value []byte, revision uint32) []byte {
	result := append(make([]byte, 0, capsSize3), value[:min(len(value), capsSize2)]...)
	first := binary.LittleEndian.Uint32(result) &^ uint32(capsRevisionMask)
	binary.LittleEndian.PutUint32(result, first|revision)
	return result
}

// HostCaps returns file capabilities that are valid on the host: revision 2, or value itself if it
// has no root uid.
func HostCaps(value []byte) ([]byte, error) {
	if _, err := CapsRoot(value); err != nil || len(value) != capsSize3 {
		return value, err
	}
	return setRevision(value, capsRevision2), nil
}

// CapsRoot returns the uid of the root of the user namespace in which the capabilities are valid.
func CapsRoot(value []byte) (uint32, error) {
	if len(value) < 4 {
		return 0, errors.New("parse file capabilities: less than 4 bytes")
	}
	revision := binary.LittleEndian.Uint32(value) & capsRevisionMask
	switch {
	case revision == capsRevision1 && len(value) == capsSize1,
		revision == capsRevision2 && len(value) == capsSize2:
		return 0, nil
	case revision == capsRevision3 && len(value) == capsSize3:
		return binary.LittleEndian.Uint32(value[capsSize2:]), nil
	}
	return 0, fmt.Errorf("parse file capabilities: unsupported revision %#x with %d bytes",
		revision, len(value))
}

// Extended attributes with access control lists (acl(5)).
const (
	AccessACL  = "system.posix_acl_access"
	DefaultACL = "system.posix_acl_default"
)

// A list is a header and entries of a tag, permissions and an id (linux/posix_acl_xattr.h).
const (
	aclVersion    = 2
	aclHeaderSize = 4
	aclEntrySize  = 8

	aclUser  = 0x02
	aclGroup = 0x08
)

// ACLEntry is an entry for a user or a group, with the Kind of its id.
type ACLEntry struct {
	// Group reports that ID is a gid.
	Group bool
	ID    uint32
	Kind  idmap.Kind
}

// TranslateACL returns a copy of an access control list with translated ids. It calls note, unless
// that is nil, for each entry with an id.
func TranslateACL(value []byte, step *idmap.Step, note func(ACLEntry)) ([]byte, error) {
	if len(value) < aclHeaderSize || (len(value)-aclHeaderSize)%aclEntrySize != 0 ||
		binary.LittleEndian.Uint32(value) != aclVersion {
		return nil, fmt.Errorf("parse access control list of %d bytes: unsupported version or size",
			len(value))
	}
	result := bytes.Clone(value)
	for at := aclHeaderSize; at < len(value); at += aclEntrySize {
		tag, id := binary.LittleEndian.Uint16(value[at:]), binary.LittleEndian.Uint32(value[at+4:])
		ids := step.UID
		switch tag {
		case aclUser:
		case aclGroup:
			ids = step.GID
		default:
			continue
		}
		to, kind := ids.To(id)
		if note != nil {
			note(ACLEntry{tag == aclGroup, id, kind})
		}
		binary.LittleEndian.PutUint32(result[at+4:], to)
	}
	return result, nil
}
