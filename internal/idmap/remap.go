// Package idmap computes with user and group ids: how those of a container correspond to those of the host, as
// user_namespaces(7) and --user-remap say it, and how the ids on a disk are to change. It is pure.
package idmap

import (
	"fmt"
	"strconv"
	"strings"
)

// Max is the largest id there is: the next one, 2^32-1, stands for "no change" in chown(2).
const Max = 1<<32 - 2

// maxOffset is the largest offset of --user-remap.
const maxOffset = 65535

// Remap is the value of --user-remap: the container's ids from 0 up to Offset-1 are the host's from UID, and GID, on.
type Remap struct {
	UID, GID, Offset uint32
}

// ParseRemap parses uid:gid:offset. All three are decimal numbers; 0 < offset < 65536; neither uid+offset nor gid+offset
// exceeds 2^32-1.
func ParseRemap(text string) (Remap, error) {
	fields := strings.Split(text, ":")
	if len(fields) != 3 {
		return Remap{}, fmt.Errorf("user remap %q has %d fields, it is to be uid:gid:offset", text, len(fields))
	}
	var numbers [3]uint32
	for i, name := range []string{"host uid", "host gid", "id offset"} {
		n, err := parseID(fields[i])
		if err != nil {
			return Remap{}, fmt.Errorf("user remap %q: %s %q %w", text, name, fields[i], err)
		}
		numbers[i] = n
	}
	r := Remap{numbers[0], numbers[1], numbers[2]}
	if r.Offset == 0 || r.Offset > maxOffset {
		return Remap{}, fmt.Errorf("user remap %q: id offset %q is to be greater than 0 and less than 65536", text, fields[2])
	}
	for i, name := range []string{"uid", "gid"} {
		if sum := uint64(numbers[i]) + uint64(r.Offset); sum > 1<<32-1 {
			return Remap{}, fmt.Errorf("user remap %q: %s+offset is %d, at most 4294967295 is allowed", text, name, sum)
		}
	}
	return r, nil
}

// parseID parses a decimal number that is an id: no sign, no blanks, no other base.
func parseID(text string) (uint32, error) {
	if text == "" {
		return 0, fmt.Errorf("is empty, a decimal number from 0 to %d is wanted", uint32(Max))
	}
	if strings.Trim(text, "0123456789") != "" {
		return 0, fmt.Errorf("is no decimal number from 0 to %d", uint32(Max))
	}
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil || n > Max {
		return 0, fmt.Errorf("is larger than %d", uint32(Max))
	}
	return uint32(n), nil
}

// HasEffect tells whether the remap changes anything: with uid or gid 0, by the definition of --user-remap, it does not.
func (r Remap) HasEffect() bool { return r.UID != 0 && r.GID != 0 }

// String is uid:gid:offset.
func (r Remap) String() string { return fmt.Sprintf("%d:%d:%d", r.UID, r.GID, r.Offset) }

// Pair are the maps that the remap stands for.
func (r Remap) Pair() Pair {
	return Pair{
		UID: Map{{Container: 0, Host: r.UID, Size: r.Offset}},
		GID: Map{{Container: 0, Host: r.GID, Size: r.Offset}},
	}
}
