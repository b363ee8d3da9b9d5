// Package idattr knows the extended attributes of files in which user and group ids stand: file capabilities and POSIX
// access control lists. It is pure.
package idattr

import (
	"encoding/binary"
	"errors"
	"fmt"

	"palisade/internal/idmap"
)

// Caps is the extended attribute of file capabilities (capabilities(7)).
const Caps = "security.capability"

// The first word of the attribute (linux/capability.h): the revision, and a bit for "effective".
const (
	capsRevisionMask = 0xff000000
	capsRevision1    = 0x01000000
	capsRevision2    = 0x02000000
	capsRevision3    = 0x03000000

	capsSize1 = 12
	capsSize2 = 20 // magic, and permitted and inheritable of two words each
	capsSize3 = 24 // the same, and the id of the user namespace's root
)

// TranslateCaps returns what capabilities are to be after a change of uids. Those without the id of a root (revision 1 and 2)
// are valid in every namespace, the host's above all: after a shift they are those of the namespace whose root the
// host's id is (revision 3). The other way round they are as they were. The result is value itself where nothing changes; kind
// is what became of the root's id.
func TranslateCaps(value []byte, uids *idmap.Translation) (result []byte, kind idmap.Kind, err error) {
	root, err := CapsRoot(value)
	if err != nil {
		return nil, 0, err
	}
	to, kind := uids.To(root)
	if to == root {
		return value, kind, nil
	}
	size := min(len(value), capsSize2)
	result = append(make([]byte, 0, capsSize3), value[:size]...)
	first := binary.LittleEndian.Uint32(result)
	if to == 0 {
		binary.LittleEndian.PutUint32(result, first&^uint32(capsRevisionMask)|capsRevision2)
		return result, kind, nil
	}
	for len(result) < capsSize2 {
		result = append(result, 0) // revision 1 has one word of each set
	}
	binary.LittleEndian.PutUint32(result, first&^uint32(capsRevisionMask)|capsRevision3)
	return binary.LittleEndian.AppendUint32(result, to), kind, nil
}

// HostCaps are the capabilities without the id of a root: revision 2, which gives them on the host, too.
func HostCaps(value []byte) ([]byte, error) {
	if _, err := CapsRoot(value); err != nil || len(value) != capsSize3 {
		return value, err
	}
	result := append([]byte(nil), value[:capsSize2]...)
	first := binary.LittleEndian.Uint32(result)
	binary.LittleEndian.PutUint32(result, first&^uint32(capsRevisionMask)|capsRevision2)
	return result, nil
}

// CapsRoot returns the id of the root of the user namespace in which the capabilities are valid.
func CapsRoot(value []byte) (uint32, error) {
	if len(value) < 4 {
		return 0, errors.New("the file capabilities are too short")
	}
	revision := binary.LittleEndian.Uint32(value) & capsRevisionMask
	switch {
	case revision == capsRevision1 && len(value) == capsSize1, revision == capsRevision2 && len(value) == capsSize2:
		return 0, nil
	case revision == capsRevision3 && len(value) == capsSize3:
		return binary.LittleEndian.Uint32(value[capsSize2:]), nil
	}
	return 0, fmt.Errorf("the file capabilities have revision %#x and %d bytes, which is not known", revision, len(value))
}
