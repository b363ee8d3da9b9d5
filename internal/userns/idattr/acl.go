package idattr

import (
	"encoding/binary"
	"fmt"

	"palisade/internal/idmap"
)

// The extended attributes of access control lists (acl(5)).
const (
	AccessACL  = "system.posix_acl_access"
	DefaultACL = "system.posix_acl_default"
)

// The attribute is a header and entries of a tag, permissions and an id (linux/posix_acl_xattr.h).
const (
	aclVersion    = 2
	aclHeaderSize = 4
	aclEntrySize  = 8

	aclUser  = 0x02
	aclGroup = 0x08
)

// ACLEntry is one entry that names a user or a group, and what became of its id.
type ACLEntry struct {
	// Group tells that it names a group.
	Group bool
	ID    uint32
	Kind  idmap.Kind
}

// TranslateACL returns what a list is to be after a change of ids, value itself where nothing changes. Each entry that names
// somebody is reported to note, unless that is nil.
func TranslateACL(value []byte, step *idmap.Step, note func(ACLEntry)) ([]byte, error) {
	if len(value) < aclHeaderSize || (len(value)-aclHeaderSize)%aclEntrySize != 0 ||
		binary.LittleEndian.Uint32(value) != aclVersion {
		return nil, fmt.Errorf("the access control list of %d bytes is not understood", len(value))
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
