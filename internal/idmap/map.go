package idmap

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// Extent maps Size ids of a container, from Container on, to those of the host from Host on: a line of
// /proc/<pid>/uid_map, an entry of uidMappings in a bundle's configuration.
type Extent struct {
	Container, Host, Size uint32
}

// String is container:host:size.
func (e Extent) String() string { return fmt.Sprintf("%d:%d:%d", e.Container, e.Host, e.Size) }

// Map is what a container's ids are on the host.
type Map []Extent

// maxExtents is how many the kernel takes (user_namespaces(7)).
const maxExtents = 340

// ParseExtent parses container:host:size.
func ParseExtent(text string) (Extent, error) {
	fields := strings.Split(text, ":")
	if len(fields) != 3 {
		return Extent{}, fmt.Errorf("id map %q has %d fields, it is to be container:host:size", text, len(fields))
	}
	var numbers [3]uint32
	for i, name := range []string{"container id", "host id", "size"} {
		n, err := parseID(fields[i])
		if err != nil {
			return Extent{}, fmt.Errorf("id map %q: %s %q %w", text, name, fields[i], err)
		}
		numbers[i] = n
	}
	return Extent{numbers[0], numbers[1], numbers[2]}, nil
}

// ParseMap parses extents that are joined by commas, as Map.String writes them.
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
		fields := bytes.Fields(line)
		if len(fields) != 3 {
			return nil, fmt.Errorf("parse id map: %q is no line of three numbers", line)
		}
		e, err := ParseExtent(string(bytes.Join(fields, []byte(":"))))
		if err != nil && string(fields[2]) == "4294967295" {
			e, err = Extent{Size: 1<<32 - 1}, nil // the initial user namespace
		}
		if err != nil {
			return nil, err
		}
		m = append(m, e)
	}
	return m, nil
}

// Check makes sure that the kernel would take the map: it is not empty, no extent is empty or goes beyond the last id, and
// no id is mapped twice.
func (m Map) Check() error {
	if len(m) == 0 || len(m) > maxExtents {
		return fmt.Errorf("an id map has from 1 to %d extents, not %d", maxExtents, len(m))
	}
	for i, e := range m {
		if e.Size == 0 {
			return fmt.Errorf("id map %s maps nothing", e)
		}
		if uint64(e.Container)+uint64(e.Size) > 1<<32-1 || uint64(e.Host)+uint64(e.Size) > 1<<32-1 {
			return fmt.Errorf("id map %s goes beyond the last id, %d", e, uint32(Max))
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

// span is a range of ids.
type span struct{ first, size uint32 }

func (s span) has(id uint32) bool { return id >= s.first && id-s.first < s.size }

func (s span) overlaps(o span) bool { return s.has(o.first) || o.has(s.first) }

// Host is what a container's id is on the host; ok is false where it is not mapped.
func (m Map) Host(id uint32) (host uint32, ok bool) {
	for _, e := range m {
		if e.containers().has(id) {
			return e.Host + (id - e.Container), true
		}
	}
	return 0, false
}

// ToContainer returns the container's id of one of the host; ok is false where it is not mapped.
func (m Map) ToContainer(host uint32) (id uint32, ok bool) {
	for _, e := range m {
		if e.hosts().has(host) {
			return e.Container + (host - e.Host), true
		}
	}
	return 0, false
}

// IsIdentity tells whether ids are the same on both sides.
func (m Map) IsIdentity() bool {
	return !slices.ContainsFunc(m, func(e Extent) bool { return e.Container != e.Host })
}

// Equal tells whether two maps are the same, in whatever order their extents stand.
func (m Map) Equal(o Map) bool { return slices.Equal(m.sorted(), o.sorted()) }

func (m Map) sorted() Map {
	c := slices.Clone(m)
	slices.SortFunc(c, func(a, b Extent) int { return int(int64(a.Container) - int64(b.Container)) })
	return c
}

// String are the extents, joined by commas.
func (m Map) String() string {
	texts := make([]string, len(m))
	for i, e := range m {
		texts[i] = e.String()
	}
	return strings.Join(texts, ",")
}

// Pair are the maps of a user namespace.
type Pair struct {
	UID, GID Map
}

// Check makes sure that the kernel would take both.
func (p Pair) Check() error {
	if err := p.UID.Check(); err != nil {
		return fmt.Errorf("uids: %w", err)
	}
	if err := p.GID.Check(); err != nil {
		return fmt.Errorf("gids: %w", err)
	}
	return nil
}

// Equal tells whether both maps are the same.
func (p Pair) Equal(o Pair) bool { return p.UID.Equal(o.UID) && p.GID.Equal(o.GID) }

// IsZero tells whether there are no maps.
func (p Pair) IsZero() bool { return len(p.UID) == 0 && len(p.GID) == 0 }

// String is uid:gid:offset for what --user-remap can say, else both maps.
func (p Pair) String() string {
	if len(p.UID) == 1 && len(p.GID) == 1 && p.UID[0].Container == 0 && p.GID[0].Container == 0 && p.UID[0].Size == p.GID[0].Size {
		return fmt.Sprintf("%d:%d:%d", p.UID[0].Host, p.GID[0].Host, p.UID[0].Size)
	}
	return fmt.Sprintf("uids %s gids %s", p.UID, p.GID)
}

// Root is the host's uid and gid of the container's root.
func (p Pair) Root() (uid, gid uint32, ok bool) {
	uid, okUID := p.UID.Host(0)
	gid, okGID := p.GID.Host(0)
	return uid, gid, okUID && okGID
}
