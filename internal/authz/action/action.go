// Package action tells what a container engine is asked to do: which action a request to the Docker Engine's API stands for,
// which actions iSulad asks for, and which of them only read.
package action

import (
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// Engine is a container engine.
type Engine string

// The engines that ask.
const (
	Docker Engine = "docker"
	Isulad Engine = "isulad"
)

// class is the class of an action, ordered from the most to the least restricted.
type class int

const (
	// write changes something.
	write class = iota
	// secret changes nothing, but discloses a secret of the engine.
	secret
	read
)

func (c class) String() string { return [...]string{"write", "secret", "read"}[c] }

// ID numbers the actions of all engines; one name has one number. None is that of an action that is not known.
type ID int

// None is no known action.
const None ID = -1

// Action is what an engine is asked to do.
type Action struct {
	// Name is what policies match. It is empty where a request is none that the engine knows.
	Name  string
	ID    ID
	class class
}

// Unknown returns an unknown action. It has the class write.
func Unknown(name string) Action { return Action{Name: name, ID: None} }

// Class returns "read", "secret" or "write".
func (a Action) Class() string { return a.class.String() }

// IsRead reports whether the action changes nothing and discloses no secret of the engine.
func (a Action) IsRead() bool { return a.class == read }

// IsSecret reports whether the action changes nothing, but discloses a secret of the engine.
func (a Action) IsSecret() bool { return a.class == secret }

// names are those of all actions, sorted; an ID is an index. All such lists are made when they are needed first: programs that link
// them to look at policies, as the hook's, start for each container.
var names = sync.OnceValue(func() (all []string) {
	for _, r := range dockerRoutes {
		all = append(all, r.action)
	}
	for name := range isuladActions {
		all = append(all, name)
	}
	slices.Sort(all)
	return slices.Compact(all)
})

// Names are the names of all actions of all engines, by ID.
func Names() []string { return names() }

func idOf(name string) ID {
	if i, ok := slices.BinarySearch(names(), name); ok {
		return ID(i)
	}
	return None
}

// isulad are the actions of iSulad by name.
var isulad = sync.OnceValue(func() map[string]Action {
	actions := make(map[string]Action)
	for name, c := range isuladActions {
		actions[name] = Action{name, idOf(name), c}
	}
	return actions
})

// OfIsulad is the action that iSulad calls by that name.
func OfIsulad(name string) Action {
	if a, ok := isulad()[name]; ok {
		return a
	}
	return Unknown(name)
}

// Of returns the actions of an engine, sorted by name. A Docker action with several routes has the
// most restricted class of these.
func Of(e Engine) (actions []Action) {
	found := make(map[string]Action)
	if e == Isulad {
		found = isulad()
	} else {
		for _, r := range dockerRoutes {
			a, ok := found[r.action]
			if !ok || r.class < a.class {
				found[r.action] = Action{r.action, idOf(r.action), r.class}
			}
		}
	}
	for _, a := range found {
		actions = append(actions, a)
	}
	slices.SortFunc(actions, func(a, b Action) int { return strings.Compare(a.Name, b.Name) })
	return actions
}

// OfRequest is the action of a request to the Docker Engine's API. uri is the request's target as it was sent, neither
// decoded nor cleaned. It is without a name where no route matches, or where the daemon might see another path than we do.
func OfRequest(method, uri string) Action {
	p, ok := decodedPath(uri)
	if !ok {
		return Unknown("")
	}
	p = withoutVersion(p)
	if !isClean(p) {
		return Unknown("")
	}
	for _, first := range [...]string{firstSegment(p), ""} {
		candidates := templates()[method][first]
		for i := range candidates {
			if candidates[i].matches(p) {
				return candidates[i].action
			}
		}
	}
	return Unknown("")
}

// decodedPath is the path of a request's target, decoded once, as net/http does it.
func decodedPath(uri string) (p string, ok bool) {
	if strings.HasPrefix(uri, "/") && !strings.HasPrefix(uri, "//") && !strings.ContainsAny(uri, "%") {
		p, _, _ = strings.Cut(uri, "?")
	} else {
		u, err := url.ParseRequestURI(uri)
		if err != nil || u.Opaque != "" {
			return "", false
		}
		p = u.Path
	}
	for i := range len(p) {
		if p[i] < ' ' || p[i] == 0x7f {
			return "", false
		}
	}
	return p, strings.HasPrefix(p, "/")
}

// isClean tells whether path.Clean would leave p as it is, but for a slash at the end, which two routes have.
func isClean(p string) bool {
	if p == "/networks/" || p == "/debug/pprof/" {
		return true
	}
	return path.Clean(p) == p
}

// Version is the version of the API that a request's target names, as in /v1.44/info; ok tells whether it names one. A
// version that is not two numbers is 0.0.
func Version(uri string) (major, minor int, ok bool) {
	p, ok := decodedPath(uri)
	if !ok {
		return 0, 0, uri != "" // what cannot be read may name one
	}
	rest := withoutVersion(p)
	if rest == p {
		return 0, 0, false
	}
	first, second, _ := strings.Cut(strings.TrimPrefix(strings.TrimSuffix(p, rest), "/v"), ".")
	major, err := strconv.Atoi(first)
	if err == nil {
		minor, err = strconv.Atoi(second)
	}
	if err != nil {
		return 0, 0, true
	}
	return major, minor, true
}

// withoutVersion cuts off one prefix /v<digits and dots>.
func withoutVersion(p string) string {
	rest, ok := strings.CutPrefix(p, "/v")
	if !ok {
		return p
	}
	end := 0
	for end < len(rest) && (rest[end] == '.' || '0' <= rest[end] && rest[end] <= '9') {
		end++
	}
	if end == 0 || end == len(rest) || rest[end] != '/' {
		return p
	}
	return rest[end:]
}
