package idmap

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Extent maps Size ids of a container, starting with Container, to those of the host, starting with
// Host: a line of /proc/<pid>/uid_map, or an entry of uidMappings in config.json.
type Extent struct {
	Container, Host, Size uint32
}

// String returns container:host:size.
func (e Extent) String() string { return fmt.Sprintf("%d:%d:%d", e.Container, e.Host, e.Size) }

// Map maps the ids of a container to those of the host.
type Map []Extent

// maxExtents is the kernel's limit (user_namespaces(7)).
const maxExtents = 340

// ParseExtent parses container:host:size.
func ParseExtent(text string) (Extent, error) {
	fields := strings.Split(text, ":")
	if len(fields) != 3 {
		return Extent{}, fmt.Errorf("id map %q has %d fields, want container:host:size",
			text, len(fields))
	}
	n, err := parseIDs(fields, "container id", "host id", "size")
	if err != nil {
		return Extent{}, fmt.Errorf("id map %q: %w", text, err)
	}
	return Extent{n[0], n[1], n[2]}, nil
}

// ParseMap parses the result of Map.String, and checks the map.
func ParseMap(text string) (Map, error) {
	var m Map
	for part := range strings.SplitSeq(text, ",") {
		e, err := ParseExtent(part)
		if err != nil {
			return nil, err
		}
		m = append(m, e)
	}
	return m, m.Check()
}

// ParseProc parses /proc/<pid>/uid_map or gid_map (user_namespaces(7)).
func ParseProc(text []byte) (Map, error) {
	var m Map
	for line := range bytes.Lines(text) {
		var e Extent
		_, err := fmt.Sscanf(string(line), "%d %d %d\n", &e.Container, &e.Host, &e.Size)
		if err != nil {
			return nil, fmt.Errorf("parse id map: line %q, want three numbers: %w", line, err)
		}
		m = append(m, e)
	}
	return m, nil
}

// Check fails unless the kernel accepts the map: it is not empty, no extent is empty or exceeds the
// last id, and no id is mapped twice.
func (m Map) Check() error {
	if len(m) == 0 || len(m) > maxExtents {
		return fmt.Errorf("id map has %d extents, want 1 to %d", len(m), maxExtents)
	}
	for i, e := range m {
		if e.Size == 0 {
			return fmt.Errorf("id map %s maps nothing", e)
		}
		if uint64(max(e.Container, e.Host))+uint64(e.Size) > 1<<32-1 {
			return fmt.Errorf("id map %s exceeds the last id, %d", e, uint32(Max))
		}
		for _, other := range m[:i] {
			if e.containers().overlaps(other.containers()) || e.hosts().overlaps(other.hosts()) {
				return fmt.Errorf("id maps %s and %s overlap", other, e)
			}
		}
	}
	return nil
}

func (e Extent) containers() span { return span{e.Container, e.Size} }
func (e Extent) hosts() span      { return span{e.Host, e.Size} }

type span struct{ first, size uint32 }

func (s span) has(id uint32) bool { return id >= s.first && id-s.first < s.size }

func (s span) overlaps(o span) bool { return s.has(o.first) || o.has(s.first) }

// Host returns the host's id of a container's id, and reports whether it is mapped.
func (m Map) Host(id uint32) (host uint32, ok bool) {
	for _, e := range m {
		if e.containers().has(id) {
			return e.Host + (id - e.Container), true
		}
	}
	return 0, false
}

// ToContainer returns the container's id of a host's id, and reports whether it is mapped.
func (m Map) ToContainer(host uint32) (id uint32, ok bool) {
	for _, e := range m {
		if e.hosts().has(host) {
			return e.Container + (host - e.Host), true
		}
	}
	return 0, false
}

// IsIdentity reports whether the map changes no id.
func (m Map) IsIdentity() bool {
	return !slices.ContainsFunc(m, func(e Extent) bool { return e.Container != e.Host })
}

// Equal reports whether two maps have the same extents, in any order.
func (m Map) Equal(o Map) bool { return slices.Equal(m.sorted(), o.sorted()) }

func (m Map) sorted() Map {
	return slices.SortedFunc(slices.Values(m), func(a, b Extent) int {
		return cmp.Compare(a.Container, b.Container)
	})
}

// String returns the extents, separated by commas.
func (m Map) String() string {
	texts := make([]string, len(m))
	for i, e := range m {
		texts[i] = e.String()
	}
	return strings.Join(texts, ",")
}

// Pair holds the maps of a user namespace.
type Pair struct {
	UID, GID Map
}

// Check fails unless the kernel accepts both maps.
func (p Pair) Check() error {
	if err := p.UID.Check(); err != nil {
		return fmt.Errorf("uids: %w", err)
	}
	if err := p.GID.Check(); err != nil {
		return fmt.Errorf("gids: %w", err)
	}
	return nil
}

// Equal reports whether both maps are equal.
func (p Pair) Equal(o Pair) bool { return p.UID.Equal(o.UID) && p.GID.Equal(o.GID) }

// IsZero reports whether there are no maps.
func (p Pair) IsZero() bool { return len(p.UID) == 0 && len(p.GID) == 0 }

// Remap returns the remap that stands for the maps, and reports whether there is one. Its Offset
// may be larger than MaxOffset.
func (p Pair) Remap() (r Remap, ok bool) {
	if len(p.UID) != 1 || len(p.GID) != 1 {
		return Remap{}, false
	}
	u, g := p.UID[0], p.GID[0]
	return Remap{u.Host, g.Host, u.Size}, u.Container == 0 && g.Container == 0 && u.Size == g.Size
}

// String returns uid:gid:offset if a remap stands for the maps, else both maps.
func (p Pair) String() string {
	if r, ok := p.Remap(); ok {
		return r.String()
	}
	return fmt.Sprintf("uids %s gids %s", p.UID, p.GID)
}

// Root returns the host's uid and gid of the container's root, and reports whether it has one.
func (p Pair) Root() (uid, gid uint32, ok bool) {
	uid, okUID := p.UID.Host(0)
	gid, okGID := p.GID.Host(0)
	return uid, gid, okUID && okGID
}
