package action

import (
	"fmt"
	"net/url"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// expand replaces the variables of a route's path by a value.
func expand(path, value string) string {
	return regexp.MustCompile(`\{[^}]*\}`).ReplaceAllString(path, value)
}

// encode percent-encodes the first letter of each segment.
func encode(p string) string {
	return regexp.MustCompile(`/[a-z]`).ReplaceAllStringFunc(p, func(s string) string {
		return fmt.Sprintf("/%%%02X", s[1])
	})
}

// TestDockerRoutes checks the form of the table.
func TestDockerRoutes(t *testing.T) {
	routes := dockerRoutes()
	if len(routes) != 122 {
		t.Errorf("%d routes, want 122", len(routes))
	}
	for _, r := range routes {
		if !slices.Contains([]string{"DELETE", "GET", "HEAD", "OPTIONS", "POST", "PUT"}, r.method) ||
			!strings.HasPrefix(r.path, "/") || r.action == "" || r.class < write {
			t.Errorf("invalid route %+v", r)
		}
	}
}

// TestReadsAreDocumented checks that docs/authz-broker.md lists each read and secret of Docker
// once, with its class, and those of Podman that Docker lacks or classifies otherwise.
func TestReadsAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../../../docs/authz-broker.md")
	if err != nil {
		t.Fatal(err)
	}
	ofDocker, ofPodman, ok := strings.Cut(string(page), "Podman's secrets and reads")
	if !ok {
		t.Fatal("Podman's table is missing")
	}
	classes := make(map[string]string)
	for _, a := range List(Docker) {
		classes[a.Name] = a.Class()
	}
	checkDocumented(t, "Docker", ofDocker, List(Docker))
	checkDocumented(t, "Podman", ofPodman, slices.DeleteFunc(List(Podman), func(a Action) bool {
		return classes[a.Name] == a.Class()
	}))
}

func checkDocumented(t *testing.T, engine, text string, actions []Action) {
	t.Helper()
	documented := make(map[string]string)
	rows := regexp.MustCompile(`(?m)^\| (read|secret) \| ([^|]*) \| [^|]+ \|$`)
	names := regexp.MustCompile("`([a-z_]+)`")
	for _, row := range rows.FindAllStringSubmatch(text, -1) {
		for _, name := range names.FindAllStringSubmatch(row[2], -1) {
			if documented[name[1]] != "" {
				t.Errorf("%s is documented twice", name[1])
			}
			documented[name[1]] = row[1]
		}
	}
	for _, a := range actions {
		want := a.Class()
		if want == "write" {
			want = ""
		}
		if documented[a.Name] != want {
			t.Errorf("%s of %s is documented as %q, want %q", a.Name, engine, documented[a.Name], want)
		}
		delete(documented, a.Name)
	}
	if len(documented) > 0 {
		t.Errorf("no actions of %s: %v", engine, documented)
	}
}

func TestEveryRoute(t *testing.T) {
	for _, r := range dockerRoutes() {
		for minor := 23; minor <= 56; minor++ {
			version := fmt.Sprintf("/v1.%d", minor)
			if minor == 23 {
				version = "" // the newest version
			}
			p := version + expand(r.path, "x1")
			encoded := version + encode(expand(r.path, "x1"))
			for _, uri := range []string{p, p + "?all=1&filters=%7B%7D", encoded} {
				a := ForDocker(r.method, uri)
				if a.Name != r.action || a.class != r.class || !a.Known || !slices.Contains(Names(), a.Name) {
					t.Errorf("%s %s is %+v, want %s", r.method, uri, a, r.action)
				}
			}
		}
	}
}

func TestForDocker(t *testing.T) {
	for _, c := range []struct{ method, uri, want string }{
		{"GET", "/containers/json", "container_list"},
		{"GET", "/containers/json/json", "container_inspect"},
		{"GET", "/containers/a/b/json", "container_inspect"},
		{"GET", "/containers/x/attach/ws", "container_attach_websocket"},
		{"DELETE", "/containers/x/checkpoints/y", "container_checkpoint_delete"},
		{"DELETE", "/containers/x/checkpoints/y/z", "container_delete"},
		{"GET", "/images/registry:5000/a/b/json", "image_inspect"},
		{"GET", "/images/json/get", "images_archive"},
		{"POST", "/containers/exec/exec", "container_exec_create"},
		{"GET", "/secrets/json", "secret_inspect"},
		{"GET", "/networks/", "network_list"},
		{"GET", "/v1.44/networks/", "network_list"},
		{"GET", "/%63ontainers/json", "container_list"},
		{"GET", "/containers/%6a%73%6f%6e", "container_list"},
		{"GET", "/containers/a%2Fb/json", "container_inspect"},
		{"GET", "/containers/a%2f..%2fjson", ""},
		{"GET", "/containers/%2e%2e/json", ""},
		{"GET", "/containers/../images/json", ""},
		{"GET", "/containers/./json", ""},
		{"GET", "//containers/json", ""},
		{"GET", "/containers//json", ""},
		{"GET", "/containers/json/", ""},
		{"DELETE", "/containers/", ""},
		{"GET", "/containers/json#x", ""},
		{"GET", "/v0.0.0/containers/json", "container_list"},
		{"GET", "/v1.44.9/containers/json", "container_list"},
		{"GET", "/v/containers/json", ""},
		{"GET", "/v1.44/v1.44/containers/json", ""},
		{"GET", "/v1.44", ""},
		{"GET", "/v1.44/", ""},
		{"GET", "/V1.44/containers/json", ""},
		{"GET", "/vendor/containers/json", ""},
		{"get", "/containers/json", ""},
		{"HEAD", "/containers/json", ""},
		{"GET", "/Containers/json", ""},
		{"GET", "http://host/containers/json", "container_list"},
		{"GET", "http://host/v1.44/images/json?x", "image_list"},
		{"GET", "mailto:containers", ""},
		{"GET", "containers/json", ""},
		{"GET", "", ""},
		{"GET", "*", ""},
		{"OPTIONS", "/any/thing", "docker_options"},
		{"GET", "/containers/\x00/json", ""},
		{"GET", "/containers/%00/json", ""},
		{"GET", "/containers/%0a/json", ""},
		{"GET", "/containers/%zz/json", ""},
		{"POST", "/v1.44/grpc", "image_build_grpc"},
	} {
		a := ForDocker(c.method, c.uri)
		if a.Name != c.want {
			t.Errorf("%s %q is %q, want %q", c.method, c.uri, a.Name, c.want)
		}
		if a.Name == "" && (a.Known || a.class != write) {
			t.Errorf("%s %q: %+v", c.method, c.uri, a)
		}
	}
}

func TestForIsulad(t *testing.T) {
	if n := len(List(Isulad)); n != 41+34 {
		t.Errorf("%d actions", n)
	}
	for name, want := range map[string]class{
		"container_archive": write, "container_export": write, "container_logs": read, "pull": write,
	} {
		a := ForIsulad(name)
		if a.Name != name || a.class != want || !a.Known {
			t.Errorf("%s: %+v", name, a)
		}
	}
	if a := ForIsulad("images_load"); a != Unknown("images_load") {
		t.Errorf("an action that only Docker has: %+v", a)
	}
}

func TestVersion(t *testing.T) {
	for uri, want := range map[string]struct {
		major, minor int
		ok           bool
	}{
		"/v1.44/info": {1, 44, true}, "/info": {}, "": {}, "/v1.23/x?/v1.44/": {1, 23, true},
		"/%761.23/info": {1, 23, true},
		"/v1.4.4/info":  {0, 0, true}, "/v0.0.0/info": {0, 0, true}, "/v1./info": {0, 0, true},
		"/v./info":               {0, 0, true},
		"http://host/v1.24/info": {1, 24, true}, "*": {0, 0, true},
		"/v99999999999999999999.1/x": {0, 0, true}, "/v/info": {},
	} {
		if major, minor, ok := Version(uri); major != want.major || minor != want.minor || ok != want.ok {
			t.Errorf("%s: %d, %d, %v; want %+v", uri, major, minor, ok, want)
		}
	}
}

// TestCommands checks that the commands request actions of their engines.
func TestCommands(t *testing.T) {
	for _, c := range Commands() {
		known := List(c.Engine)
		for _, a := range c.Actions {
			if !slices.Contains(known, a) {
				t.Errorf("%s %s: %+v is not an action of %s", c.Client(), c.Name, a, c.Engine)
			}
		}
		if found, ok := FindCommand(c.Engine, c.Name); !ok || len(found.Actions) != len(c.Actions) {
			t.Errorf("%s %s is found as %+v", c.Client(), c.Name, found)
		}
	}
	if c, ok := FindCommand(Docker, "fly"); ok {
		t.Errorf("fly: %+v", c)
	}
}

// isulaSubcommands lists the commands of isula 2.1.6 (src/cmd/isula/main.c).
const isulaSubcommands = `attach cp create events exec export images import info inspect kill load
	login logout logs network pause port ps pull rename restart rm rmi run search start stats stop
	tag top unpause update version volume wait`

func TestIsulaCommands(t *testing.T) {
	for name := range strings.FieldsSeq(isulaSubcommands) {
		if _, ok := FindCommand(Isulad, name); !ok {
			t.Errorf("isula %s is unknown", name)
		}
	}
	for line, want := range map[string]string{
		"run":                    "container_create container_start container_wait",
		"run -it":                "container_create container_start container_wait",
		"run -d":                 "container_create container_start",
		"run -tid":               "container_create container_start",
		"run -t --detach":        "container_create container_start",
		"start":                  "container_start",
		"start -ai":              "container_start container_wait",
		"exec -it":               "container_inspect container_exec_create",
		"cp":                     "docker_info container_archive",
		"port":                   "container_inspect",
		"volume":                 "volume_list volume_remove volume_prune",
		"volume ls":              "volume_list",
		"network":                "network_create network_inspect network_list network_remove",
		"network rm":             "network_remove",
		"run --name web busybox": "",
		"run -dx":                "",
		"run -":                  "",
		"-d":                     "",
		"":                       "",
		"volume fly":             "",
		"run run":                "",
	} {
		c, ok := FindCommand(Isulad, line)
		var names []string
		for _, a := range c.Actions {
			names = append(names, a.Name)
		}
		if got := strings.Join(names, " "); got != want || ok != (want != "") {
			t.Errorf("%q: %q, %v; want %q", line, got, ok, want)
		}
	}
	if run, _ := FindCommand(Isulad, "run"); run.Purpose.Name != "container_create" {
		t.Errorf("the purpose of run is %+v", run.Purpose)
	}
	if _, ok := FindCommand(Docker, "run -d"); ok {
		t.Error("docker run -d is known, but was never measured")
	}
}

func TestNoAllocation(t *testing.T) {
	route := func() { ForDocker("POST", "/v1.44/containers/0123456789ab/exec?x=y") }
	if n := testing.AllocsPerRun(100, route); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// referenceForDocker returns the name of ForDocker's action, by regular expressions.
func referenceForDocker(method, uri string) string {
	u, err := url.ParseRequestURI(uri)
	if err != nil || u.Opaque != "" || !strings.HasPrefix(u.Path, "/") ||
		regexp.MustCompile(`[\x00-\x1f\x7f]`).MatchString(u.Path) {
		return ""
	}
	p := regexp.MustCompile(`^/v[0-9.]+(/.*)$`).ReplaceAllString(u.Path, "$1")
	if path.Clean(p) != p && p != "/networks/" && p != "/debug/pprof/" {
		return ""
	}
	for _, r := range dockerRoutes() {
		pattern := regexp.MustCompile(`\{[^}:]*\}`).ReplaceAllString(r.path, `[^/]+`)
		pattern = regexp.MustCompile(`\{[^}:]*:([^}]*)\}`).ReplaceAllString(pattern, `(?s:$1)`)
		if r.method == method && regexp.MustCompile("^"+pattern+`\z`).MatchString(p) {
			return r.action
		}
	}
	return ""
}

func FuzzForDocker(f *testing.F) {
	for _, r := range dockerRoutes() {
		f.Add(r.method, "/v1.44"+expand(r.path, "x"))
	}
	for _, uri := range []string{
		"//", "/..", "/%2e", "/%", "/v1/v1/", "http://h/info", "/info?a#b", "/networks/",
		"/v1.4/networks/",
	} {
		f.Add("GET", uri)
	}
	f.Fuzz(func(t *testing.T, method, uri string) {
		if got, want := ForDocker(method, uri).Name, referenceForDocker(method, uri); got != want {
			t.Errorf("%q %q is %q, want %q", method, uri, got, want)
		}
	})
}

func BenchmarkForDocker(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		ForDocker("POST", "/v1.44/containers/0123456789ab/exec?x=y")
	}
}
