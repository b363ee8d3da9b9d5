package idattr

import (
	"encoding/binary"
	"fmt"

	"palisade/internal/oci/idmap"
)

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

// TranslateACL returns an access control list with translated ids, value itself if none changes. It
// calls note, unless that is nil, for each entry with an id.
func TranslateACL(value []byte, step *idmap.Step, note func(ACLEntry)) ([]byte, error) {
	if len(value) < aclHeaderSize || (len(value)-aclHeaderSize)%aclEntrySize != 0 ||
		binary.LittleEndian.Uint32(value) != aclVersion {
		return nil, fmt.Errorf("parse access control list of %d bytes: unsupported version or size",
			len(value))
	}
	result, copied := value, false
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
		if to == id {
			continue
		}
		if !copied {
			result, copied = append([]byte(nil), value...), true
		}
		binary.LittleEndian.PutUint32(result[at+4:], to)
	}
	return result, nil
}
