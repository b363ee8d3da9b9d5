// Package idmap maps user and group ids of containers to those of the host (user_namespaces(7)),
// and translates the ids on a disk from one map to another. It is pure.
//
// Reading order: remap, map, translation.
package idmap

import (
	"fmt"
	"strconv"
	"strings"
)

// Max is the largest id: the next one, 2^32-1, stands for "no change" in chown(2).
const Max = 1<<32 - 2

// MaxOffset is the largest offset of --user-remap.
const MaxOffset = 65535

// Remap is the value of --user-remap: the container's ids from 0 to Offset-1 are the host's from
// UID and GID on.
type Remap struct {
	UID, GID, Offset uint32
}

// ParseRemap parses uid:gid:offset. All are decimal numbers without leading
// zeros, 0 < offset < 65536, and neither uid+offset nor gid+offset exceeds 2^32-1.
func ParseRemap(text string) (Remap, error) {
	fields := strings.Split(text, ":")
	if len(fields) != 3 {
		return Remap{}, fmt.Errorf("user remap %q has %d fields, want uid:gid:offset",
			text, len(fields))
	}
	n, err := parseIDs(fields, "host uid", "host gid", "id offset")
	if err != nil {
		return Remap{}, fmt.Errorf("user remap %q: %w", text, err)
	}
	r := Remap{n[0], n[1], n[2]}
	if r.Offset == 0 || r.Offset > MaxOffset {
		return Remap{}, fmt.Errorf("user remap %q: id offset %q, want greater than 0 and less than 65536",
			text, fields[2])
	}
	for i, name := range []string{"uid", "gid"} {
		if sum := uint64(n[i]) + uint64(r.Offset); sum > 1<<32-1 {
			return Remap{}, fmt.Errorf("user remap %q: %s+offset is %d, want at most 4294967295",
				text, name, sum)
		}
	}
	return r, nil
}

// parseIDs parses three fields, which have these names in errors.
func parseIDs(fields []string, names ...string) (ids [3]uint32, err error) {
	for i, name := range names {
		if ids[i], err = parseID(fields[i]); err != nil {
			return ids, fmt.Errorf("%s %q %w", name, fields[i], err)
		}
	}
	return ids, nil
}

// parseID parses a decimal number without sign, blanks or leading zeros. Its errors follow the quoted text.
func parseID(text string) (uint32, error) {
	if text == "" {
		return 0, fmt.Errorf("is empty, want a decimal number from 0 to %d", uint32(Max))
	}
	if strings.Trim(text, "0123456789") != "" {
		return 0, fmt.Errorf("is no decimal number from 0 to %d", uint32(Max))
	}
	if len(text) > 1 && text[0] == '0' {
		// iSulad takes it for an octal number.
		return 0, fmt.Errorf("has a leading zero, want a decimal number from 0 to %d", uint32(Max))
	}
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil || n > Max {
		return 0, fmt.Errorf("is larger than %d", uint32(Max))
	}
	return uint32(n), nil
}

// HasEffect reports whether the remap changes ids. By the definition of --user-remap, it does not
// if its uid or gid is 0.
func (r Remap) HasEffect() bool { return r.UID != 0 && r.GID != 0 }

// String returns uid:gid:offset.
func (r Remap) String() string { return fmt.Sprintf("%d:%d:%d", r.UID, r.GID, r.Offset) }

// Pair returns the maps that the remap stands for.
func (r Remap) Pair() Pair {
	return Pair{
		UID: Map{{Container: 0, Host: r.UID, Size: r.Offset}},
		GID: Map{{Container: 0, Host: r.GID, Size: r.Offset}},
	}
}
