package idattr

import "encoding/binary"

// Tags of entries without an id (linux/posix_acl.h), and the permission to search.
const (
	aclUserObj  = 0x01
	aclGroupObj = 0x04
	aclMask     = 0x10
	aclOther    = 0x20

	aclSearch = 1
)

// MaySearch reports whether an access control list lets a user in one group search a directory with
// this owner and group (acl(5), "ACCESS CHECK ALGORITHM").
func MaySearch(acl []byte, owner, group, uid, gid uint32) bool {
	mask := true
	has := make(map[uint16]bool)
	var named *bool
	inGroup, groupMay := false, false
	for at := aclHeaderSize; at+aclEntrySize <= len(acl); at += aclEntrySize {
		tag, id := binary.LittleEndian.Uint16(acl[at:]), binary.LittleEndian.Uint32(acl[at+4:])
		may := binary.LittleEndian.Uint16(acl[at+2:])&aclSearch != 0
		switch {
		case tag == aclMask:
			mask = may
		case tag == aclUser && id == uid:
			named = &may
		case tag == aclGroupObj && group == gid, tag == aclGroup && id == gid:
			inGroup, groupMay = true, groupMay || may
		default:
			has[tag] = may
		}
	}
	switch {
	case owner == uid:
		return has[aclUserObj]
	case named != nil:
		return *named && mask
	case inGroup:
		return groupMay && mask
	}
	return has[aclOther]
}
