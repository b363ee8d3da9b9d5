package doctor

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
)

// subidFiles are the files that assign ids of the host to users (subuid(5), subgid(5)).
var subidFiles = []string{"/etc/subuid", "/etc/subgid"}

// subid is a line of these files: the ids from first to end-1.
type subid struct {
	name string
	// owner is the user, by one of its names.
	owner      string
	first, end uint64
	line       int
}

// parseSubids parses a file. broken are the numbers of lines that are not NAME:FIRST:COUNT. A user
// may be listed by number, and LXD, which runs as root, is listed as lxd and root (LXD's setup).
func parseSubids(text []byte, users map[string]string) (ranges []subid, broken []string) {
	number := 0
	for line := range bytes.Lines(text) {
		number++
		trimmed := strings.TrimSpace(string(line))
		if trimmed == "" || strings.HasPrefix(trimmed, "#") {
			continue
		}
		name, ids, _ := strings.Cut(trimmed, ":")
		one, two, _ := strings.Cut(ids, ":")
		first, err1 := strconv.ParseUint(one, 10, 32)
		count, err2 := strconv.ParseUint(two, 10, 32)
		if name == "" || err1 != nil || err2 != nil || count == 0 || first+count > 1<<32 {
			broken = append(broken, strconv.Itoa(number))
			continue
		}
		owner := cmp.Or(users[name], name)
		if owner == "lxd" {
			owner = "root"
		}
		ranges = append(ranges, subid{name, owner, first, first + count, number})
	}
	return ranges, broken
}

// overlap returns ranges of two users that share ids.
func overlap(ranges []subid) (a, b subid, ok bool) {
	sorted := slices.Clone(ranges)
	slices.SortStableFunc(sorted, func(a, b subid) int { return cmp.Compare(a.first, b.first) })
	// A range that overlaps any earlier one overlaps that with the last end, or these two overlap.
	var last subid
	for _, s := range sorted {
		if s.first < last.end && s.owner != last.owner {
			return last, s, true
		}
		if s.end > last.end {
			last = s
		}
	}
	return a, b, false
}

// users maps names and numbers of users to names (passwd(5)).
func (w *World) users() map[string]string {
	users := make(map[string]string)
	text, _ := w.read("/etc/passwd", maxConfig) // without it, names count as they are
	for line := range bytes.Lines(text) {
		// The name, a password, the number.
		f := strings.SplitN(string(line), ":", 4)
		if len(f) < 4 || f[0] == "" {
			continue
		}
		for _, key := range []string{f[0], f[2]} {
			users[key] = cmp.Or(users[key], f[0])
		}
	}
	return users
}

func checkUserns(_ context.Context, w *World, r *Report) {
	if w.program("userns-shift") != "" {
		r.shift = new(Shift)
	}
	users := w.users()
	remapped := w.remappedUsers(users)
	there := false
	for i, file := range subidFiles {
		text, err := w.read(file, maxConfig)
		isAbsent := errors.Is(err, fs.ErrNotExist)
		there = there || !isAbsent
		if err != nil && !isAbsent {
			r.warn("subid-broken", file,
				advice("make it a regular file with lines NAME:FIRST:COUNT"), "%v", err)
			continue
		}
		ranges, broken := parseSubids(text, users)
		if len(broken) > 0 {
			r.warn("subid-broken", file, advice("correct or remove the lines"),
				"not NAME:FIRST:COUNT: line %s", list(broken))
		}
		if a, b, ok := overlap(ranges); ok {
			r.warn("subid-overlap", file,
				advice("give each user other ids: change line %d", max(a.line, b.line)),
				"%q and %q share ids from %d on: a container of one user can have the ids of the other's",
				a.name, b.name, max(a.first, b.first))
		}
		names := remapped[i]
		isOf := func(s subid) bool { return slices.Contains(names, s.owner) }
		if len(names) > 0 && !slices.ContainsFunc(ranges, isOf) {
			line := fmt.Sprintf("%s:%d:65536", names[0], free(ranges))
			r.error("subid-missing", file,
				command("echo %s >>%s%s", quote(line), file, docker.restart(w)),
				"%q has no ids, which userns-remap in %s requires: dockerd does not start",
				names[0], docker.config)
		}
	}
	if there && len(r.Findings) == 0 {
		r.fine("subid-ok", list(subidFiles), "no ids are assigned twice")
	}
}

// free returns an id above all ranges.
func free(ranges []subid) uint64 {
	first := uint64(100000)
	for _, s := range ranges {
		first = max(first, s.end)
	}
	return first
}

// remappedUsers returns the names, for each of the files, of which one must have ids for dockerd's
// containers, or none. In /etc/subgid old versions look for the group, others for the user.
func (w *World) remappedUsers(users map[string]string) (names [2][]string) {
	text, _ := w.read(docker.config, maxConfig)
	c, err := parseDocker(text)
	user, group, _ := strings.Cut(c.UsernsRemap, ":")
	if user == "default" {
		user = "dockremap"
		if users[user] == "" {
			return names // dockerd creates the user, and assigns ids
		}
	}
	user = cmp.Or(users[user], user)
	if err != nil || user == "" || user == "root" { // dockerd does not remap root
		return names
	}
	names = [2][]string{{user}, {user}}
	if group != "" {
		names[1] = append(names[1], group)
	}
	return names
}
