package action

import (
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

// TestPodmanRoutes checks the form of the table, and that each route is found with a version.
func TestPodmanRoutes(t *testing.T) {
	routes := podmanRoutes()
	if len(routes) != 205 {
		t.Errorf("%d routes, want 205", len(routes))
	}
	for _, r := range routes {
		if !slices.Contains([]string{"DELETE", "GET", "HEAD", "POST", "PUT"}, r.method) ||
			!strings.HasPrefix(r.path, "/") || r.action == "" || r.class < write {
			t.Errorf("invalid route %+v", r)
		}
		isLibpod := strings.HasPrefix(r.path, "/libpod/") && r.path != "/libpod/_ping"
		for prefix, known := range map[string]bool{
			"/v4.3.1": true, "/v1.41": !isLibpod, "/v6.0.0-dev": true, "": !isLibpod,
		} {
			if prefix == "/v1.41" && isLibpod {
				known = !strings.HasPrefix(r.path, "/libpod/manifests")
			}
			uri := prefix + expand(r.path, "x1")
			for _, uri := range []string{uri, uri + "?all=true&filters=%7B%7D"} {
				a := ForPodman(r.method, uri)
				if a.Known != known || known && (a.Name != r.action || a.class != r.class) {
					t.Errorf("%s %s is %+v, want %s", r.method, uri, a, r.action)
				}
			}
		}
	}
}

func TestForPodman(t *testing.T) {
	for _, c := range []struct{ method, uri, want string }{
		{"GET", "/v4.3.1/libpod/containers/json", "container_list"},
		{"GET", "/v1.40/containers/json", "container_list"},
		{"GET", "/containers/json", "container_list"},
		{"GET", "/libpod/containers/json", ""},
		{"GET", "/libpod/_ping", "docker_ping"},
		{"GET", "/v4.3.1/libpod/libpod/containers/json", ""},
		{"POST", "/v4.3.1/libpod/kube/play", "libpod_kube_play"},
		{"DELETE", "/v4.3.1/libpod/play/kube", "libpod_kube_down"},
		// Variables may be encoded, other segments not.
		{"GET", "/v4.3.1/libpod/images/docker.io%2Flibrary%2Falpine:latest/json", "image_inspect"},
		{"GET", "/v4.3.1/libpod/images/docker.io/library/alpine/json", "image_inspect"},
		{"GET", "/v4.3.1/libpod/images/docker.io%2Falpine/changes", "image_history"},
		{"GET", "/v4.3.1/libpod/images/docker.io/alpine/changes", ""},
		{"GET", "/v4.3.1/%6cibpod/containers/json", ""},
		{"GET", "/v4.3.1%2flibpod/containers/json", ""},
		{"GET", "/v4.3.1/libpod/containers/%6ason", ""},
		{"GET", "/v4.3.1/libpod/containers/a%2Fb/json", "container_inspect"},
		{"GET", "/v4.3.1/libpod/containers/a%2F..%2Fb/json", ""},
		{"GET", "/v4.3.1/libpod/containers/%2e%2e/json", ""},
		{"GET", "/v4.3.1/libpod/containers/x/../json", ""},
		{"GET", "/v4.3.1//libpod/containers/json", ""},
		{"GET", "/v4.3.1/libpod/containers/json/", ""},
		{"GET", "/v4.3.1/libpod/containers/a%0ab/json", ""},
		{"GET", "/v4.3.1/libpod/containers/%zz/json", ""},
		{"GET", "/v/libpod/containers/json", ""},
		{"GET", "/vx4/libpod/containers/json", ""},
		{"GET", "/v4_3/libpod/containers/json", ""},
		{"GET", "/v4/v4/libpod/containers/json", ""},
		{"get", "/v4/libpod/containers/json", ""},
		{"HEAD", "/v4/libpod/containers/json", ""},
		{"GET", "http://host/v4/libpod/containers/json", "container_list"},
		{"GET", "*", ""},
		{"GET", "", ""},
		// Podman takes these for requests to libpod, although the route is Docker's.
		{"POST", "/containers/libpod/exec", ""},
		{"POST", "/build?x=/libpod/", ""},
		{"POST", "/build?x=/libpod", ""},
		{"POST", "/v1.41/build?x=/libpod/", "image_build"},
		{"POST", "/containers/libpods/exec", "container_exec_create"},
		{"POST", "/containers/x/libpod", ""},
		// Two routes match.
		{"POST", "/v4/libpod/images/scp/push", "libpod_scp"},
		{"POST", "/v4/libpod/images/scp/a/b", "libpod_scp"},
		{"POST", "/v4/libpod/images/x/push", "image_push"},
		{"POST", "/v4/libpod/manifests/a/b/registry/docker.io/x", "libpod_manifest_push"},
		{"POST", "/v4/libpod/manifests/a/registry", "libpod_manifest_create"},
		{"POST", "/v3.9/libpod/manifests/create", ""},
		{"PUT", "/v10.0/libpod/manifests/x", ""},
		{"GET", "/v4/libpod/networks/json", "network_list"},
		{"GET", "/v4/libpod/networks/x", "network_inspect"},
		{"GET", "/plugins", ""},
		{"POST", "/v1.41/services/create", ""},
		{"OPTIONS", "/x", ""},
	} {
		a := ForPodman(c.method, c.uri)
		if a.Name != c.want || a.Known != (c.want != "") {
			t.Errorf("%s %q is %+v, want %q", c.method, c.uri, a, c.want)
		}
	}
	for uri, want := range map[string]bool{
		"/v4/libpod/containers/create": true, "/v1.41/containers/create?x=/libpod/": false,
		"/containers/create": false, "": false, "%": false,
	} {
		if IsLibpod(uri) != want {
			t.Errorf("%q: libpod is %v", uri, !want)
		}
	}
}

// podmanExpressions are the routes as regular expressions, as gorilla/mux compiles them.
var podmanExpressions = sync.OnceValue(func() (all []*regexp.Regexp) {
	segment, text := regexp.MustCompile(`\{[^}:]*\}`), regexp.MustCompile(`\{[^}:]*:([^}]*)\}`)
	for _, r := range podmanRoutes() {
		version := `(/v[0-9][0-9A-Za-z.-]*)?`
		switch {
		case strings.HasPrefix(r.path, "/libpod/manifests"):
			version = `/v[4-9][0-9A-Za-z.-]*`
		case strings.HasPrefix(r.path, "/libpod/") && r.path != "/libpod/_ping":
			version = `/v[0-9][0-9A-Za-z.-]*`
		}
		pattern := text.ReplaceAllString(segment.ReplaceAllString(r.path, `[^/]+`), `(?s:$1)`)
		all = append(all, regexp.MustCompile("^"+version+pattern+`\z`))
	}
	return all
})

// referenceForPodman returns the name of ForPodman's action, by these expressions.
func referenceForPodman(method, uri string) string {
	u, err := url.ParseRequestURI(uri)
	if err != nil || u.Opaque != "" || path.Clean(u.Path) != u.Path || hasControl(u.Path) {
		return ""
	}
	p := u.EscapedPath()
	if !strings.HasPrefix(p, "/") || path.Clean(p) != p {
		return ""
	}
	for i, r := range podmanRoutes() {
		if r.method != method || !podmanExpressions()[i].MatchString(p) {
			continue
		}
		split := strings.Split(u.String(), "/")
		isLibpod := len(split) >= 3 && split[2] == "libpod"
		if r.path != "/libpod/_ping" && isLibpod != strings.HasPrefix(r.path, "/libpod/") {
			return ""
		}
		return r.action
	}
	return ""
}

func FuzzForPodman(f *testing.F) {
	for _, r := range podmanRoutes() {
		f.Add(r.method, "/v4.3.1"+expand(r.path, "x"))
		f.Add(r.method, expand(r.path, "libpod"))
	}
	for _, uri := range []string{
		"//", "/..", "/%2e", "/%", "/v4/v4/", "/info?a=/libpod/", "/info?a#b", "/v4/libpod/manifests/",
		"/v4.1/libpod/images/a%2fb/json",
	} {
		f.Add("GET", uri)
	}
	f.Fuzz(func(t *testing.T, method, uri string) {
		if strings.Contains(uri, "://") {
			t.Skip() // a front sends only the path and the query
		}
		if got, want := ForPodman(method, uri).Name, referenceForPodman(method, uri); got != want {
			t.Errorf("%q %q is %q, want %q", method, uri, got, want)
		}
	})
}

func TestPodmanNoAllocation(t *testing.T) {
	route := func() { ForPodman("POST", "/v4.3.1/libpod/containers/0123456789ab/exec?x=y") }
	if n := testing.AllocsPerRun(100, route); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkForPodman(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		ForPodman("GET", "/v4.3.1/libpod/volumes/x/json")
	}
}
