package idmap

import (
	"fmt"
	"strings"
)

// Owner is the owner of a volume on the disk: the container's ids from 0 to Size-1 are stored as
// UID and GID and those that follow.
type Owner struct {
	UID, GID, Size uint32
}

// ParseOwner parses uid:gid or uid:gid:size. All are decimal numbers; the size, by default 1, is
// greater than 0, and neither uid+size nor gid+size exceeds 2^32-1.
func ParseOwner(text string) (Owner, error) {
	fields := strings.Split(text, ":")
	if len(fields) == 2 {
		fields = append(fields, "1")
	}
	if len(fields) != 3 {
		return Owner{}, fmt.Errorf("owner %q has %d fields, want uid:gid or uid:gid:size",
			text, len(fields))
	}
	n, err := parseIDs(fields, "uid", "gid", "size")
	if err != nil {
		return Owner{}, fmt.Errorf("owner %q: %w", text, err)
	}
	o := Owner{n[0], n[1], n[2]}
	if o.Size == 0 {
		return Owner{}, fmt.Errorf("owner %q: size %q, want greater than 0", text, fields[2])
	}
	for i, name := range []string{"uid", "gid"} {
		if sum := uint64(n[i]) + uint64(o.Size); sum > 1<<32-1 {
			return Owner{}, fmt.Errorf("owner %q: %s+size is %d, want at most 4294967295",
				text, name, sum)
		}
	}
	return o, nil
}

// String returns uid:gid:size.
func (o Owner) String() string { return fmt.Sprintf("%d:%d:%d", o.UID, o.GID, o.Size) }

// OnHost returns the maps from the ids on the disk to those of a container on the host, whose maps
// are p.
func (o Owner) OnHost(p Pair) Pair {
	return Pair{UID: p.UID.storedFrom(o.UID, o.Size), GID: p.GID.storedFrom(o.GID, o.Size)}
}

// storedFrom returns the map of the container's ids below size, which are stored as first and those
// that follow.
func (m Map) storedFrom(first, size uint32) (stored Map) {
	for _, e := range m {
		if e.Container >= size {
			continue
		}
		e.Size = min(e.Size, size-e.Container)
		e.Container += first
		stored = append(stored, e)
	}
	return stored
}
