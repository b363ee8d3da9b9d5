package action

import (
	_ "embed"
	"slices"
	"strings"
	"sync"
)

// dockerTable holds the routes of the Docker Engine's API, versions 1.24 to 1.56, in the order in
// which the daemon tries them (moby, daemon/server/router). The HTTP method does not determine the
// class: GET attaches a websocket, which writes to the container, and POST waits for a container.
//
// Actions that disclose secrets of the engine have the class secret: tokens and keys of a swarm,
// content of configs, settings of plug-ins, and options of volumes, which may include the password
// of a share. Environment, files and output of containers and images are reads, which readonly
// policies have always granted. docs/authz-broker.md lists what each action discloses.
//
//go:embed docker-routes.tsv
var dockerTable string

// route is a route of the daemon. Its path is a pattern of gorilla/mux: {x} matches a segment,
// {x:.*} any text and {x:.+} any text that is not empty.
type route struct {
	method, path, action string
	class                class
}

var dockerRoutes = sync.OnceValue(func() []route { return parseRoutes(dockerTable) })

func parseRoutes(table string) (routes []route) {
	for line := range strings.Lines(table) {
		f := strings.Split(strings.TrimSpace(line), "\t")
		routes = append(routes, route{f[0], f[1], f[2], class(slices.Index(classNames, f[3]))})
	}
	return routes
}

// find returns the action of the first route that matches, or an unknown action without a name.
func find(routes []route, method, p string) Action {
	for _, r := range routes {
		if r.method == method && matches(r.path, p) {
			return Action{r.action, true, r.class}
		}
	}
	return Unknown("")
}

// matches reports whether the whole path p matches the pattern of a route, in which {x:.*} and
// {x:.+} are followed only by variables of that kind.
func matches(pattern, p string) bool {
	prefix, variable, found := strings.Cut(pattern, "{")
	p, ok := strings.CutPrefix(p, prefix)
	if !ok || !found {
		return ok && p == ""
	}
	variable, suffix, _ := strings.Cut(variable, "}")
	if _, text, ok := strings.Cut(variable, ":"); ok {
		if literal, _, more := strings.Cut(suffix, "{"); more {
			_, _, ok := strings.Cut(p, literal)
			return ok // the second variable is {x:.*}, too
		}
		value, ok := strings.CutSuffix(p, suffix)
		return ok && (text == ".*" || value != "")
	}
	end := strings.IndexByte(p, '/')
	if end < 0 {
		end = len(p)
	}
	return end > 0 && matches(suffix, p[end:])
}
