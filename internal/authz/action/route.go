package action

import (
	"strings"
	"sync"
)

// route is a route of the daemon: its path has names in braces, {x} for a segment, {x:.*} for anything, {x:.+} for anything
// but nothing (gorilla/mux).
type route struct {
	method, path, action string
	class                class
}

// template is a route's path, ready to match.
type template struct {
	action Action
	prefix string
	names  []name
}

// name is a part of a path that is not fixed, with the fixed text behind it.
type name struct {
	kind  nameKind
	after string
}

type nameKind int

const (
	segment  nameKind = iota
	anything          // it is the last name of its route
	something
)

// templates are the routes by method and the first segment of their paths, which is "" if it is not fixed, in their order.
var templates = sync.OnceValue(func() map[string]map[string][]template {
	all := make(map[string]map[string][]template)
	for _, r := range dockerRoutes {
		t := newTemplate(r)
		if all[r.method] == nil {
			all[r.method] = make(map[string][]template)
		}
		first := firstSegment(t.prefix)
		all[r.method][first] = append(all[r.method][first], t)
	}
	return all
})

func firstSegment(p string) string {
	first, _, _ := strings.Cut(strings.TrimPrefix(p, "/"), "/")
	return first
}

func newTemplate(r route) template {
	prefix, rest, found := strings.Cut(r.path, "{")
	t := template{action: Action{r.action, idOf(r.action), r.class}, prefix: prefix}
	for found {
		var text, after string
		text, rest, _ = strings.Cut(rest, "}")
		after, rest, found = strings.Cut(rest, "{")
		kind := segment
		switch _, pattern, _ := strings.Cut(text, ":"); pattern {
		case ".*":
			kind = anything
		case ".+":
			kind = something
		}
		t.names = append(t.names, name{kind, after})
	}
	return t
}

// matches tells whether the route is the one of a path, as a regular expression that is anchored at both ends.
func (t *template) matches(p string) bool {
	rest, ok := strings.CutPrefix(p, t.prefix)
	if !ok {
		return false
	}
	for _, n := range t.names {
		if n.kind != segment {
			value, ok := strings.CutSuffix(rest, n.after)
			return ok && (n.kind == anything || value != "")
		}
		end := strings.IndexByte(rest, '/')
		if end < 0 {
			end = len(rest)
		}
		if end == 0 {
			return false
		}
		if rest, ok = strings.CutPrefix(rest[end:], n.after); !ok {
			return false
		}
	}
	return rest == ""
}
