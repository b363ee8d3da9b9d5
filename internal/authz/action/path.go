package action

import "path"

// SplitPath splits the path of a request target, decoded as engines do, into the version of the
// API, such as "/v1.44" or "", and the rest. ok is false if an engine may decode it differently.
func SplitPath(uri string) (version, rest string, ok bool) {
	p, ok := decodedPath(uri)
	rest = withoutVersion(p)
	if !ok || path.Clean(rest) != rest && rest != "/networks/" {
		return "", "", false
	}
	return p[:len(p)-len(rest)], rest, true
}

// Route is a route of an engine's API.
type Route struct {
	// Path is a pattern of gorilla/mux, with variables in braces, without a version.
	Method, Path string
	Action       Action
}

// DockerRoutes returns the routes of the Docker Engine's API.
func DockerRoutes() (routes []Route) {
	for _, r := range dockerRoutes() {
		routes = append(routes, Route{r.method, r.path, Action{r.action, true, r.class}})
	}
	return routes
}
