package cgroup

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// Paths is a place in all hierarchies: for each a cgroup's path from the hierarchy's root, "" where it is not known. The
// zero Paths is nowhere.
type Paths struct{ of []string }

// ParsePaths parses /proc/<pid>/cgroup (cgroups(7)): lines "number:controllers:path", without controllers for v2. A path
// may hold any character but a newline. Lines of hierarchies that are not mounted are skipped.
func (fs *FS) ParsePaths(text []byte) (Paths, error) {
	p := Paths{make([]string, len(fs.hierarchies))}
	found := false
	for line := range bytes.Lines(text) {
		number, rest, ok1 := bytes.Cut(bytes.TrimSuffix(line, []byte{'\n'}), []byte{':'})
		names, place, ok2 := bytes.Cut(rest, []byte{':'})
		if !ok1 || !ok2 || len(place) == 0 || place[0] != '/' {
			return Paths{}, fmt.Errorf("parse cgroup line %.200q", line)
		}
		if i := fs.find(string(number), string(names)); i >= 0 {
			p.of[i] = string(place)
			found = true
		}
	}
	if !found {
		return Paths{}, fmt.Errorf("parse cgroups %.200q: none is of a mounted hierarchy", text)
	}
	return p, nil
}

// find is the index of the hierarchy that a line of /proc/<pid>/cgroup tells of, -1 if it is not known.
func (fs *FS) find(number, names string) int {
	if number == "0" && names == "" {
		return fs.unified
	}
	for name := range strings.SplitSeq(names, ",") {
		if c := slices.Index(v1Names[:], name); c >= 0 && !fs.hierarchies[max(fs.of[c], 0)].v2 {
			return fs.of[c]
		}
	}
	return -1
}

// Map returns the paths that f makes of each that is known.
func (p Paths) Map(f func(path string) string) Paths {
	q := Paths{make([]string, len(p.of))}
	for i, path := range p.of {
		if path != "" {
			q.of[i] = f(path)
		}
	}
	return q
}

// IsZero tells whether p is nowhere.
func (p Paths) IsZero() bool {
	return !slices.ContainsFunc(p.of, func(s string) bool { return s != "" })
}

// Key is the same for the same paths, and for no others.
func (p Paths) Key() string { return strings.Join(p.of, "\n") }

// Name is the path that tells most of a container, for messages: the longest.
func (p Paths) Name() string {
	if p.IsZero() {
		return "none"
	}
	return slices.MaxFunc(p.of, func(a, b string) int { return len(a) - len(b) })
}

// TrimInit strips the last part of each path if it is init.scope, into which systemd puts itself.
func (p Paths) TrimInit() Paths {
	return p.Map(func(path string) string {
		if above, ok := strings.CutSuffix(path, "/init.scope"); ok {
			return orRoot(above)
		}
		return path
	})
}

// Root is the root of the cgroup namespace of a process whose cgroups are p as seen from outside and inside as seen from
// that namespace. A process that was moved out of it sees a path that begins with "/..": then p itself stands for it.
func (p Paths) Root(inside Paths) Paths {
	q := p.Map(func(path string) string { return path })
	for i, path := range q.of {
		if i >= len(inside.of) || inside.of[i] == "/" {
			continue
		}
		if above, ok := strings.CutSuffix(path, inside.of[i]); ok && inside.of[i] != "" {
			q.of[i] = orRoot(above)
		}
	}
	return q
}

// ReplaceWhere returns p with the paths of to in each hierarchy in which a and b are the same.
func (p Paths) ReplaceWhere(a, b, to Paths) Paths {
	q := Paths{slices.Clone(p.of)}
	for i := range min(len(q.of), len(a.of), len(b.of), len(to.of)) {
		if a.of[i] == b.of[i] {
			q.of[i] = to.of[i]
		}
	}
	return q
}

// IsAncestorOrSelf tells whether the place q is p's, or below it, in every hierarchy in which both are known and p is not
// the root.
func (p Paths) IsAncestorOrSelf(q Paths) bool {
	for i, path := range p.of {
		if path != "" && i < len(q.of) && q.of[i] != "" && !isBelow(q.of[i], path) {
			return false
		}
	}
	return true
}

// ChildOfCommonAncestor is, in each hierarchy, the child on the way to reader of the closest common ancestor of p and
// reader. It is nowhere if reader lies in no hierarchy beside p.
func (p Paths) ChildOfCommonAncestor(reader Paths) Paths {
	q := Paths{make([]string, len(p.of))}
	beside := false
	for i, path := range p.of {
		if path == "" || i >= len(reader.of) || reader.of[i] == "" {
			continue
		}
		q.of[i] = childTowards(path, reader.of[i])
		beside = beside || !isBelow(path, q.of[i]) && !isBelow(q.of[i], path)
	}
	if !beside {
		return Paths{}
	}
	return q
}

// childTowards is the child on the way to reader of the closest common ancestor of the cgroups path and reader; reader
// itself where it is that ancestor.
func childTowards(path, reader string) string {
	a, b := strings.Split(path, "/"), strings.Split(reader, "/")
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return orRoot(strings.Join(b[:min(n+1, len(b))], "/"))
}

// isBelow tells whether path is the same as above, or lies below it.
func isBelow(path, above string) bool {
	rest, ok := strings.CutPrefix(path, strings.TrimSuffix(above, "/"))
	return ok && (rest == "" || rest[0] == '/')
}

func orRoot(path string) string {
	if path == "" {
		return "/"
	}
	return path
}
