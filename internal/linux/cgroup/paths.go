package cgroup

import (
	"fmt"
	"iter"
	"slices"
	"strings"
)

// Paths holds the path of a cgroup in each hierarchy, which may be "" for unknown. All paths are
// unknown in the zero Paths.
type Paths struct{ of []string }

// ParsePaths parses /proc/<pid>/cgroup (cgroups(7)): lines "number:controllers:path", on v2 without
// controllers. A path may contain any character but a newline. Hierarchies that are not mounted are
// skipped.
func (fs *FS) ParsePaths(text []byte) (Paths, error) {
	p := Paths{make([]string, len(fs.hierarchies))}
	found := false
	for line := range strings.Lines(string(text)) {
		hierarchy, path, ok := cutMembership(line)
		if !ok || !strings.HasPrefix(path, "/") {
			return Paths{}, fmt.Errorf("parse cgroup line %.200q", line)
		}
		if i := fs.find(hierarchy); i >= 0 {
			p.of[i] = path
			found = true
		}
	}
	if !found {
		return Paths{}, fmt.Errorf("parse cgroups %.200q: no mounted hierarchy", text)
	}
	return p, nil
}

// cutMembership splits a line into the hierarchy, "number:controllers", and the path.
func cutMembership(line string) (hierarchy, path string, ok bool) {
	number, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
	controllers, path, ok := strings.Cut(rest, ":")
	return number + ":" + controllers, path, ok
}

// Memberships yields the hierarchies, "number:controllers", and paths in /proc/<pid>/cgroup,
// without malformed lines.
func Memberships(text []byte) iter.Seq2[string, string] {
	return func(yield func(hierarchy, path string) bool) {
		for line := range strings.Lines(string(text)) {
			if hierarchy, path, ok := cutMembership(line); ok && !yield(hierarchy, path) {
				return
			}
		}
	}
}

// find returns the index of a hierarchy, "number:controllers", or -1.
func (fs *FS) find(hierarchy string) int {
	if hierarchy == "0:" {
		return fs.unified
	}
	_, names, _ := strings.Cut(hierarchy, ":")
	for name := range strings.SplitSeq(names, ",") {
		if i, ok := fs.index[name]; ok {
			return i
		}
	}
	return -1
}

// Map returns the results of f for the known paths.
func (p Paths) Map(f func(path string) string) Paths {
	q := Paths{make([]string, len(p.of))}
	for i, path := range p.of {
		if path != "" {
			q.of[i] = f(path)
		}
	}
	return q
}

// IsZero reports whether all paths are unknown.
func (p Paths) IsZero() bool {
	return !slices.ContainsFunc(p.of, func(s string) bool { return s != "" })
}

// Key returns a string that is unique for these paths.
func (p Paths) Key() string { return strings.Join(p.of, "\n") }

// Name returns the longest path for messages, or "none".
func (p Paths) Name() string {
	if p.IsZero() {
		return "none"
	}
	return slices.MaxFunc(p.of, func(a, b string) int { return len(a) - len(b) })
}

// TrimInit removes a last component init.scope, into which systemd moves itself, from each path.
func (p Paths) TrimInit() Paths {
	return p.Map(func(path string) string {
		if above, ok := strings.CutSuffix(path, "/init.scope"); ok {
			return orRoot(above)
		}
		return path
	})
}

// Root returns the root of the cgroup namespace of a process with the cgroups p, which are inside
// as seen from that namespace. It returns p for a process that was moved out of its namespace,
// where inside begins with "/..".
func (p Paths) Root(inside Paths) Paths {
	q := Paths{slices.Clone(p.of)}
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

// ReplaceWhere returns p with the path of to in each hierarchy where a and b are equal.
func (p Paths) ReplaceWhere(a, b, to Paths) Paths {
	q := Paths{slices.Clone(p.of)}
	for i := range min(len(q.of), len(a.of), len(b.of), len(to.of)) {
		if a.of[i] == b.of[i] {
			q.of[i] = to.of[i]
		}
	}
	return q
}

// IsAncestorOrSelf reports whether q is p or below it in every hierarchy where both are known.
func (p Paths) IsAncestorOrSelf(q Paths) bool {
	for i, path := range p.of {
		if path != "" && i < len(q.of) && q.of[i] != "" && !isBelow(q.of[i], path) {
			return false
		}
	}
	return true
}

// ChildOfCommonAncestor returns, in each hierarchy, the child of the closest common ancestor of p
// and reader on the path to reader. It returns the zero Paths unless p and that child diverge in a
// hierarchy.
func (p Paths) ChildOfCommonAncestor(reader Paths) Paths {
	q := Paths{make([]string, len(p.of))}
	diverges := false
	for i, path := range p.of {
		if path == "" || i >= len(reader.of) || reader.of[i] == "" {
			continue
		}
		q.of[i] = childTowards(path, reader.of[i])
		diverges = diverges || !isBelow(path, q.of[i]) && !isBelow(q.of[i], path)
	}
	if !diverges {
		return Paths{}
	}
	return q
}

// childTowards returns the child of the closest common ancestor of path and reader on the path to
// reader, or reader if it is that ancestor.
func childTowards(path, reader string) string {
	a, b := strings.Split(path, "/"), strings.Split(reader, "/")
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return orRoot(strings.Join(b[:min(n+1, len(b))], "/"))
}

// isBelow reports whether path is above or below it.
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
