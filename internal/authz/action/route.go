package action

import (
	"strings"
	"sync"
)

// route is a route of the daemon. Its path is a pattern of gorilla/mux: {x} matches a segment,
// {x:.*} any text and {x:.+} any text that is not empty.
type route struct {
	method, path, action string
	class                class
}

type matcher struct {
	action    Action
	prefix    string
	variables []variable
}

type variable struct {
	kind   variableKind
	suffix string
}

type variableKind int

const (
	segment  variableKind = iota
	anyText               // the last variable of its route
	someText              // not empty; the last variable of its route
)

// matchers holds the routes of each method, in order.
var matchers = sync.OnceValue(func() map[string][]matcher {
	all := make(map[string][]matcher)
	for _, r := range dockerRoutes {
		all[r.method] = append(all[r.method], newMatcher(r))
	}
	return all
})

func newMatcher(r route) matcher {
	prefix, rest, found := strings.Cut(r.path, "{")
	m := matcher{action: Action{r.action, idOf(r.action), r.class}, prefix: prefix}
	for found {
		var text, suffix string
		text, rest, _ = strings.Cut(rest, "}")
		suffix, rest, found = strings.Cut(rest, "{")
		kind := segment
		switch _, pattern, _ := strings.Cut(text, ":"); pattern {
		case ".*":
			kind = anyText
		case ".+":
			kind = someText
		}
		m.variables = append(m.variables, variable{kind, suffix})
	}
	return m
}

// matches reports whether the whole path p matches the route.
func (m *matcher) matches(p string) bool {
	rest, ok := strings.CutPrefix(p, m.prefix)
	if !ok {
		return false
	}
	for _, v := range m.variables {
		if v.kind != segment {
			value, ok := strings.CutSuffix(rest, v.suffix)
			return ok && (v.kind == anyText || value != "")
		}
		end := strings.IndexByte(rest, '/')
		if end < 0 {
			end = len(rest)
		}
		if end == 0 {
			return false
		}
		if rest, ok = strings.CutPrefix(rest[end:], v.suffix); !ok {
			return false
		}
	}
	return rest == ""
}
