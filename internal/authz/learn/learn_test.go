package learn

import (
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"palisade/internal/authz/action"
	"palisade/internal/authz/audit"
	"palisade/internal/authz/broker"
	"palisade/internal/authz/policy"
)

// owners has one container, "web", of alice.
type owners struct{}

func (owners) Container(ref string) (id, owner string, err error) {
	if ref == "web" {
		return strings.Repeat("a", 64), "user:alice", nil
	}
	return "", "", nil
}
func (owners) Exec(string) (string, error)         { return "", nil }
func (owners) Containers(string) ([]string, error) { return nil, nil }
func (owners) ImageHasOwner(string) (bool, error)  { return false, nil }

type request struct {
	id                policy.Identity
	method, uri, body string
}

var (
	alice = policy.Identity{User: "alice"}
	bob   = policy.Identity{User: "bob", Groups: []string{"dev"}}
	dave  = policy.Identity{UnixUser: "dave", UnixGroups: []string{"users"}}
	ci    = policy.Identity{Container: &policy.Container{Name: "ci"}}
)

// learn records the requests, twice, and returns the entries in the file.
func learn(t *testing.T, requests []request) []Entry {
	t.Helper()
	file := filepath.Join(t.TempDir(), "learned")
	for range 2 {
		r, err := Open(file, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		for _, q := range slices.Concat(requests, requests) {
			p := policy.DockerRequest(q.method, q.uri, []byte(q.body)).WithOwners(owners{})
			r.Add(broker.Asked{Identity: q.id, Request: p},
				&audit.Record{Engine: action.Docker, Method: q.method, URI: q.uri})
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
	entries, err := Read(file)
	if err != nil {
		t.Fatal(err)
	}
	return entries
}

func TestLearn(t *testing.T) {
	requests := []request{
		{alice, "GET", "/v1.41/containers/json?all=1", ""},
		{alice, "POST", "/v1.41/containers/create", `{"HostConfig":{"Binds":["/srv:/srv"]}}`},
		{alice, "POST", "/v1.41/containers/create", `{"HostConfig":{"Binds":["/etc:/etc"]}}`},
		{alice, "POST", "/v1.41/containers/web/start", ""},
		{alice, "GET", "/v1.41/containers/alpine/json", ""}, // before it is taken for an image
		{bob, "GET", "/v1.41/containers/json", ""},
		{dave, "GET", "/v1.41/containers/json", ""},
		{ci, "POST", "/v1.41/containers/web/stop", ""},
		{policy.Identity{Local: true}, "GET", "/_ping", ""},
		{policy.Identity{}, "GET", "/_ping", ""},
		{bob, "GET", "/nosuch?secret=1", ""},
	}
	entries := learn(t, requests)
	if len(entries) != 10 {
		t.Errorf("%d entries, want one for each kind of request: %+v", len(entries), entries)
	}
	text, warnings, err := Suggest(entries)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		`{"name":"learned-1","local":true,"actions":["docker_ping"],"exact":true,"readonly":true}`,
		`{"name":"learned-2","containers":["ci"],"actions":["container_stop"],"exact":true}`,
		`{"name":"learned-3","users":["bob"],"unix_users":["dave"],"actions":["container_list"],` +
			`"exact":true,"readonly":true}`,
		`{"name":"learned-4","users":["alice"],"actions":["container_create","container_inspect",` +
			`"container_list","container_start"],"exact":true,"own":true,"deny":["privileged",`,
	}
	for _, line := range want {
		if !strings.Contains(string(text), line) {
			t.Errorf("no %s in\n%s", line, text)
		}
	}
	for _, unwanted := range []string{`"binds"`, "no-user-remap", "nosuch"} {
		if strings.Contains(string(text), unwanted) {
			t.Errorf("%s in\n%s", unwanted, text)
		}
	}
	for _, warning := range []string{
		`the policy of the user "alice" does not deny "binds": Binds has "/srv:/srv"`,
		`the user "alice" used only its own containers`,
		`the user "bob" requested "GET /nosuch", which only a policy for all actions allows`,
		`clients without a name need the user ""`,
	} {
		if !slices.ContainsFunc(warnings, func(w string) bool { return strings.HasPrefix(w, warning) }) {
			t.Errorf("no warning %q in %q", warning, warnings)
		}
	}

	// The policies allow what was recorded, and nothing else.
	set, err := policy.Parse("learned", text)
	if err != nil {
		t.Fatal(err)
	}
	decide := func(q request) policy.Decision {
		return set.Decide(q.id,
			policy.DockerRequest(q.method, q.uri, []byte(q.body)).WithOwners(owners{}))
	}
	for i, q := range requests {
		isAbsent := strings.Contains(q.uri, "alpine")
		if d := decide(q); d.Allow != (i < 9 && !isAbsent) || isAbsent && d.Status() != 404 {
			t.Errorf("%+v: %s", q, d.Explain())
		}
	}
	for _, q := range []request{
		{alice, "POST", "/containers/create", `{"HostConfig":{"Privileged":true}}`},
		{alice, "POST", "/containers/db/start", ""},
		{alice, "POST", "/containers/web/stop", ""},
		{bob, "POST", "/containers/web/stop", ""},
	} {
		if d := decide(q); d.Allow {
			t.Errorf("%+v: %s", q, d.Explain())
		}
	}
}

// TestBypass checks that a request which could bypass rules leaves no rules.
func TestBypass(t *testing.T) {
	text, warnings, err := Suggest(learn(t, []request{
		{bob, "POST", "/containers/create", `{}`},
		{bob, "POST", "/containers/x/start?checkpoint=c", ""},
	}))
	if err != nil || strings.Contains(string(text), "deny") || len(warnings) < 10 {
		t.Errorf("%v %s %q", err, text, warnings)
	}
}

func TestRead(t *testing.T) {
	const line = `{"engine":"docker","class":"read"}` + "\n"
	file := filepath.Join(t.TempDir(), "learned")
	for _, c := range []struct {
		text, err string
		entries   int
	}{
		{"", "", 0},
		{line + line, "", 2},
		{line + `{"eng`, "", 1},
		{`{"eng` + "\n" + line, file + `:1: invalid character '\n' in string literal`, 0},
		{`{"x":1}` + "\n", file + `:1: json: unknown field "x"`, 0},
	} {
		if err := os.WriteFile(file, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		entries, err := Read(file)
		if err != nil && err.Error() != c.err || (err == nil) != (c.err == "") ||
			len(entries) != c.entries {
			t.Errorf("%q: %d, %v", c.text, len(entries), err)
		}
		if r, err := Open(file, slog.New(slog.DiscardHandler)); err == nil {
			r.Add(broker.Asked{}, &audit.Record{Engine: action.Docker})
			r.Close()
			if entries, err := Read(file); err != nil || len(entries) != c.entries+1 {
				t.Errorf("%q, and an entry: %d, %v", c.text, len(entries), err)
			}
		}
	}
}

func TestIsulad(t *testing.T) {
	file := filepath.Join(t.TempDir(), "learned")
	r, err := Open(file, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for method, message := range map[string][]byte{
		"/containers.ContainerService/List": nil,
		// hostconfig and customconfig are {}.
		"/containers.ContainerService/Create": {5<<3 | 2, 2, '{', '}', 6<<3 | 2, 2, '{', '}'},
	} {
		r.Add(broker.Asked{Identity: dave, Request: policy.IsuladRequest(method, message)},
			&audit.Record{Engine: action.Isulad, Method: method})
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	entries, err := Read(file)
	if err != nil {
		t.Fatal(err)
	}
	text, warnings, err := Suggest(entries)
	want := `{"name":"learned-1","unix_users":["dave"],"actions":["container_create","container_list"],` +
		`"exact":true,"deny":["privileged",`
	if err != nil || !strings.HasPrefix(string(text), want) {
		t.Errorf("%v: %s, want %s: %q", err, text, want, warnings)
	}
}
