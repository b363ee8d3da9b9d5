// Package action maps requests to container engines to named actions, and classifies each action
// as a read, a secret or a write.
package action

import (
	"cmp"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// Engine is a container engine.
type Engine string

// The supported engines.
const (
	Docker Engine = "docker"
	Podman Engine = "podman"
	Isulad Engine = "isulad"
)

// Engines lists the supported engines.
var Engines = []Engine{Docker, Podman, Isulad}

// class is the class of an action, ordered from the most to the least restricted.
type class int

const (
	write  class = iota
	secret       // changes nothing, but discloses a secret of the engine
	read
)

var classNames = []string{"write", "secret", "read"}

// Action is an operation of an engine that policies grant by its name.
type Action struct {
	// Name is empty if no route of the engine matches the request.
	Name string
	// Known is set if it is an action of the engine.
	Known bool
	class class
}

// Unknown returns an unknown action, which has the class write.
func Unknown(name string) Action { return Action{Name: name} }

// Class returns "read", "secret" or "write".
func (a Action) Class() string { return classNames[a.class] }

// IsRead reports whether the action changes nothing and discloses no secret of the engine.
func (a Action) IsRead() bool { return a.class == read }

// IsSecret reports whether the action changes nothing, but discloses a secret of the engine.
func (a Action) IsSecret() bool { return a.class == secret }

// Names returns the sorted names of the actions of all engines. This and the other tables are built
// on first use.
var Names = sync.OnceValue(func() (all []string) {
	for _, r := range slices.Concat(dockerRoutes(), podmanRoutes()) {
		all = append(all, r.action)
	}
	all = slices.Concat(all, isuladReads, isuladWrites)
	slices.Sort(all)
	return slices.Compact(all)
})

// ForIsulad returns the action that iSulad calls name, or an unknown action.
func ForIsulad(name string) Action {
	switch {
	case slices.Contains(isuladReads, name):
		return Action{name, true, read}
	case slices.Contains(isuladWrites, name):
		return Action{name, true, write}
	}
	return Unknown(name)
}

// List returns the actions of an engine, sorted by name. An action with several routes has the most
// restricted class of its routes.
func List(e Engine) (actions []Action) {
	var routes []route
	switch e {
	case Docker:
		routes = dockerRoutes()
	case Podman:
		routes = podmanRoutes()
	case Isulad:
		for _, name := range slices.Concat(isuladReads, isuladWrites) {
			actions = append(actions, ForIsulad(name))
		}
	}
	for _, r := range routes {
		actions = append(actions, Action{r.action, true, r.class})
	}
	slices.SortFunc(actions, func(a, b Action) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), cmp.Compare(a.class, b.class))
	})
	return slices.CompactFunc(actions, func(a, b Action) bool { return a.Name == b.Name })
}

// byEngine holds the names of the actions of each engine.
var byEngine = sync.OnceValue(func() map[Engine]map[string]bool {
	names := make(map[Engine]map[string]bool)
	for _, e := range Engines {
		names[e] = make(map[string]bool)
		for _, a := range List(e) {
			names[e][a.Name] = true
		}
	}
	return names
})

// Has reports whether an engine has an action of the name.
func Has(e Engine, name string) bool { return byEngine()[e][name] }

// ForDocker returns the action of a request to the Docker Engine's API, given the unmodified
// request target. The action is unknown and has no name if no route matches, or if the daemon might
// route the request differently.
func ForDocker(method, uri string) Action {
	p, ok := decodedPath(uri)
	if !ok {
		return Unknown("")
	}
	p = withoutVersion(p)
	// Two routes end in a slash.
	if path.Clean(p) != p && p != "/networks/" && p != "/debug/pprof/" {
		return Unknown("")
	}
	return find(dockerRoutes(), method, p)
}

// decodedPath returns the path of a request target, percent-decoded once as net/http does.
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
	return p, strings.HasPrefix(p, "/") && !hasControl(p)
}

func hasControl(p string) bool {
	for i := range len(p) {
		if p[i] < ' ' || p[i] == 0x7f {
			return true
		}
	}
	return false
}

// Version returns the API version in a request target such as /v1.44/info. ok is false if the
// target has none. A version that is not two numbers is returned as 0.0.
func Version(uri string) (major, minor int, ok bool) {
	p, ok := decodedPath(uri)
	if !ok {
		return 0, 0, uri != "" // a target that cannot be decoded may have a version
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

// withoutVersion returns p without one leading /v<digits and dots>.
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
