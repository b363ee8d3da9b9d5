package policy

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// Full ids of containers in tests.
const (
	aliceID = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	bobID   = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
)

// fakeOwners has alice's container "web" and bob's "db".
type fakeOwners struct{}

func (fakeOwners) Container(ref string) (id, owner string, err error) {
	switch {
	case ref == "web" || strings.HasPrefix(aliceID, ref):
		return aliceID, "user:alice", nil
	case ref == "db" || strings.HasPrefix(bobID, ref):
		return bobID, "user:bob", nil
	case ref == "broken":
		return "", "", errors.New("no answer")
	}
	return "", "", nil
}

func (fakeOwners) Exec(id string) (owner string, err error) {
	return map[string]string{"e1": "user:alice", "e2": "user:bob"}[id], nil
}

func (fakeOwners) Containers(owner string) ([]string, error) {
	if owner == "user:alice" {
		return []string{aliceID}, nil
	}
	return nil, nil
}

func (fakeOwners) ImageHasOwner(ref string) (bool, error) { return ref == "labelled", nil }

func ownSet(t testing.TB) *Set {
	t.Helper()
	s, err := Parse("policy.json", []byte(`{"name":"own","users":["alice","carol"],"actions":[""],`+
		`"own":true,"local":true}`+"\n"+`{"name":"all","users":["root"],"actions":[""]}`))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestOwn has requests of alice, and what is sent instead: a URI with A for the id of her
// container, or "=" for the request itself, or the status of the denial.
func TestOwn(t *testing.T) {
	const filter = `filters=%7B%22label%22%3A%7B%22palisade.owner%3Duser%3Aalice%22%3Atrue%7D%7D`
	for _, c := range []struct{ method, uri, want string }{
		{"POST", "/v1.41/containers/web/start", "/v1.41/containers/A/start"},
		{"POST", "/v1.41/containers/aaaa/stop?t=1", "/v1.41/containers/A/stop?t=1"},
		{"POST", "/containers/%77eb/kill?signal=9", "/containers/A/kill?signal=9"},
		{"DELETE", "/containers/web?force=1&v=1", "/containers/A?force=1&v=1"},
		{"DELETE", "/containers/web?link=1", "403"},
		{"DELETE", "/containers/web?link=False&v=True", "/containers/A?link=False&v=True"},
		{"DELETE", "/containers/web?link=0&link=x", "403"},
		{"GET", "/containers/web/json", "/containers/A/json"},
		{"GET", "/containers/web/attach/ws?stream=1", "/containers/A/attach/ws?stream=1"},
		{"PUT", "/v1.41/containers/web/archive?path=/", "/v1.41/containers/A/archive?path=/"},
		{"POST", "/containers/web/rename?name=x", "/containers/A/rename?name=x"},
		{"POST", "/containers/web/rename?name=deadbeef", "/containers/A/rename?name=deadbeef"},
		{"POST", "/containers/web/rename?name=" + bobID, "403"},
		{"POST", "/containers/web/rename?name=x&Name=/" + bobID[:12], "403"},
		{"POST", "/containers/web/exec", "/containers/A/exec"},
		{"POST", "/containers/db/start", "404"},
		{"POST", "/containers/bbbb/start", "404"},
		{"POST", "/containers/missing/start", "404"},
		{"POST", "/containers/broken/start", "403"},
		{"POST", "/containers/web/db/start", "403"},
		{"POST", "/containers//web/start", "403"},
		{"POST", "/containers/web%2Fdb/start", "403"},
		{"POST", "/containers/web%3F/start", "404"},
		{"DELETE", "/containers/json", "404"},
		{"POST", "/containers/web/start?checkpoint=c", "403"},
		{"POST", "/containers/web/start?checkpoint=no", "403"},
		{"GET", "/containers/web/checkpoints", "403"},
		{"POST", "/exec/e1/start", "/exec/e1/start"},
		{"GET", "/v1.41/exec/e1/json", "/v1.41/exec/e1/json"},
		{"POST", "/exec/e2/start", "404"},
		{"POST", "/exec/e3/start", "404"},
		{"GET", "/containers/json?all=1", "/containers/json?all=1&" + filter},
		{"GET", "/containers/json?filters=", "/containers/json?" + filter},
		{"GET", "/containers/json?filters=null", "/containers/json?" + filter},
		{"GET", "/containers/json?filters={}&filters={}", "403"},
		{"GET", "/containers/json?filters=[]", "403"},
		{"GET", "/containers/json?filters={}&Filters={}", "403"},
		{"GET", "/containers/json?Filters={}", "/containers/json?" + filter},
		{"GET", `/containers/json?filters={"label%3Da":["b"]}`, "403"},
		{"GET", `/containers/json?filters={"since":["db"]}`, "404"},
		{"GET", `/containers/json?filters={"before":{"missing":true}}`, "404"},
		{"GET", `/containers/json?filters={"since":["web"]}`, "/containers/json?filters=%7B%22label" +
			"%22%3A%7B%22palisade.owner%3Duser%3Aalice%22%3Atrue%7D%2C%22since%22%3A%7B%22A%22%3Atrue%7D%7D"},
		{"GET", "/containers/json?since=db", "/containers/json?" + filter},
		{"GET", "/events?since=1", "/events?" + filter + "&since=1"},
		{"GET", "/containers/json?a;b", "403"},
		{"POST", "/containers/prune", "/containers/prune?" + filter},
		{"GET", "/events", "/events?" + filter},
		{"POST", "/commit?container=web&repo=r", "/commit?changes=LABEL+palisade.owner%3D%22%22&" +
			"container=A&repo=r"},
		{"POST", "/commit?container=web&changes=CMD+x", "/commit?changes=CMD+x&changes=LABEL+" +
			"palisade.owner%3D%22%22&container=A"},
		{"POST", "/commit?container=db", "404"},
		{"POST", "/commit?container=web&container=db", "403"},
		{"POST", "/commit", "403"},
		{"POST", "/build?t=x", "/build?t=x"},
		{"POST", "/build?networkmode=host", "/build?networkmode=host"},
		{"POST", "/build?networkmode=container:db", "403"},
		{"POST", "/build?NetworkMode=container:db", "403"},
		{"GET", "/images/json", "="},
		{"DELETE", "/images/x?force=1", "="},
		{"GET", "/networks", "="},
		{"GET", "/networks/", "="},
		{"POST", "/networks/create", "="},
		{"GET", "/_ping", "="},
		{"OPTIONS", "/x", "="},
		{"GET", "/system/df", "403"},
		{"GET", "/tasks", "403"},
		{"GET", "/services/x/logs", "403"},
		{"GET", "/plugins", "403"},
		{"POST", "/swarm/init", "403"},
		{"GET", "/nosuch", "403"},
		{"GET", "/images/nosuch", "403"},
		{"POST", "/v1.23/containers/web/start", "403"},
		{"POST", "/v1/containers/web/start", "403"},
	} {
		id := Identity{User: "alice"}
		d := ownSet(t).Decide(id, DockerRequest(c.method, c.uri, nil).WithOwners(fakeOwners{}))
		got := "="
		switch {
		case !d.Allow:
			got = map[int]string{http.StatusNotFound: "404", http.StatusForbidden: "403"}[d.Status()]
		case d.Forward != nil:
			got = strings.ReplaceAll(d.Forward.URI, aliceID, "A")
		}
		if got != c.want || !d.Allow && d.Forward != nil {
			t.Errorf("%s %s: got %s, want %s: %s", c.method, c.uri, got, c.want, d.Explain())
		}
	}
}

func TestOwnPodman(t *testing.T) {
	const filter = `filters=%7B%22label%22%3A%7B%22palisade.owner%3Duser%3Aalice%22%3Atrue%7D%7D`
	for _, c := range []struct{ method, uri, want string }{
		{"POST", "/v4.0.0/libpod/containers/web/start", "/v4.0.0/libpod/containers/A/start"},
		{"GET", "/v4.0.0/libpod/containers/web/exists", "/v4.0.0/libpod/containers/A/exists"},
		{"GET", "/v4.0.0/libpod/containers/json?external=true&all=1",
			"/v4.0.0/libpod/containers/json?all=1&" + filter},
		{"GET", "/v4.0.0/libpod/containers/stats?stream=false&x=1",
			"/v4.0.0/libpod/containers/stats?containers=A&stream=false"},
		{"GET", "/v4.0.0/libpod/containers/stats?Containers=web&containers=aa",
			"/v4.0.0/libpod/containers/stats?containers=A&containers=A"},
		{"GET", "/v4.0.0/libpod/containers/stats?containers=web&containers=db", "404"},
		{"GET", "/containers/stats", "403"},
		{"GET", "/v4.0.0/libpod/containers/showmounted", "403"},
		{"POST", "/v4.0.0/libpod/containers/web/checkpoint", "403"},
		{"POST", "/v4.0.0/libpod/containers/web/restore", "403"},
		{"DELETE", "/v4.0.0/libpod/containers/web?depend=true", "403"},
		{"DELETE", "/v4.0.0/libpod/containers/web?force=true", "/v4.0.0/libpod/containers/A?force=true"},
		{"DELETE", "/v4.0.0/libpod/images/x?force=true", "403"},
		{"DELETE", "/v4.0.0/libpod/images/x?Force=1", "403"},
		{"DELETE", "/v4.0.0/libpod/images/x?force=false", "="},
		{"DELETE", "/v4.0.0/libpod/networks/x?force=true", "403"},
		{"DELETE", "/v4.0.0/libpod/volumes/x?force=true", "403"},
		{"GET", "/v4.0.0/libpod/images/x/changes", "403"},
		{"POST", "/v4.0.0/libpod/images/prune?external=true", "403"},
		{"GET", "/v4.0.0/libpod/pods/json", "403"},
		{"POST", "/v4.0.0/libpod/play/kube", "403"},
		{"GET", "/v4.0.0/libpod/generate/kube?names=db", "403"},
		{"POST", "/v4.0.0/libpod/build?nsoptions=[]", "403"},
		{"POST", "/v4.0.0/libpod/commit?container=web",
			"/v4.0.0/libpod/commit?changes=LABEL+palisade.owner%3D%22%22&" +
				"container=A"},
		{"GET", "/v4.0.0/libpod/events?stream=true", "/v4.0.0/libpod/events?" + filter + "&stream=true"},
		{"GET", `/v4.0.0/libpod/events?filters={"Label":["a"]}`, "403"},
		{"GET", "/v4.0.0/libpod/info", "="},
	} {
		r := PodmanRequest(c.method, c.uri, nil).WithOwners(fakeOwners{})
		if !r.action.Known && c.want != "403" {
			t.Errorf("%s %s is unknown", c.method, c.uri)
		}
		got := "="
		f, err := own("user:alice", r)
		var why refusal
		switch {
		case errors.As(err, &why) && why.notFound:
			got = "404"
		case err != nil:
			got = "403"
		case f != nil:
			got = strings.ReplaceAll(f.URI, aliceID, "A")
		}
		if got != c.want {
			t.Errorf("%s %s: got %s, want %s: %v", c.method, c.uri, got, c.want, err)
		}
	}
}

func TestOwnCreate(t *testing.T) {
	const label = `{"palisade.owner":"user:alice"}`
	for _, c := range []struct{ uri, body, want string }{
		{"/containers/create", `{"Image":"x"}`, `{"Image":"x","Labels":` + label + `}`},
		{"/containers/create", `{"labels":{"a":"b"},"N":1.50}`,
			`{"N":1.50,"labels":{"a":"b","palisade.owner":"user:alice"}}`},
		{"/containers/create", `{"Labels":null}`, `{"Labels":` + label + `}`},
		{"/containers/create", `{"Labels":` + label + `}`, `{"Labels":` + label + `}`},
		{"/containers/create", `{"Labels":{"palisade.owner":"user:bob"}}`, ""},
		{"/containers/create", `{"Labels":{},"labels":{}}`, ""},
		{"/containers/create", `{"Labels":{},"Label\u017f":{}}`, ""},
		{"/containers/create", `{"Labels":{},"Labels":{}}`, ""},
		{"/containers/create", `{"Labels":[]}`, ""},
		{"/containers/create", `{} {}`, ""},
		{"/containers/create", `null`, `{"Labels":` + label + `}`},
		{"/containers/create", ``, ""},
		{"/containers/create", `{"Image":"labelled"}`, ""},
		{"/containers/create?name=" + bobID, `{}`, ""},
		{"/v4.0.0/libpod/containers/create", `{"Name":"` + bobID + `"}`, ""},
		{"/v4.0.0/libpod/containers/create?Name=bbbbbbbbbbbb", `{}`, ""},
		{"/containers/create", `{"HostConfig":{"NetworkMode":"container:web","PidMode":"container:aaa",` +
			`"VolumesFrom":["web:ro","aa"],"Links":["/web","web:x"]}}`,
			`{"HostConfig":{"Links":["A:web","A:x"],"NetworkMode":"container:A","PidMode":"container:A",` +
				`"VolumesFrom":["A:ro","A"]},"Labels":` + label + `}`},
		{"/containers/create", `{"HostConfig":{"NetworkMode":"container:db"}}`, ""},
		{"/containers/create", `{"hostconfig":{"networkmode":"container:db"}}`, ""},
		{"/containers/create", `{"NetworkMode":"container:db"}`, ""},
		{"/containers/create", `{"HostConfig":{"IpcMode":"Container:db"}}`, ""},
		{"/containers/create", `{"HostConfig":{"Cgroup":"container:db"}}`, ""},
		{"/containers/create", `{"HostConfig":{"VolumesFrom":["db"]}}`, ""},
		{"/containers/create", `{"HostConfig":{"Links":["db:x"]}}`, ""},
		{"/containers/create", `{"HostConfig":{"NetworkMode":"ns:/proc/1/ns/net"}}`, ""},
		{"/containers/create", `{"HostConfig":{"NetworkMode":"bridge"}}`,
			`{"HostConfig":{"NetworkMode":"bridge"},"Labels":` + label + `}`},
		{"/containers/create", `{"NetworkingConfig":{"EndpointsConfig":{"n":{"Links":["db:x"]}}}}`, ""},
		{"/containers/create",
			`{"NetworkingConfig":{"EndpointsConfig":{"n":{"Links":["web:x"]},"m":null}}}`,
			`{"Labels":` + label + `,"NetworkingConfig":{"EndpointsConfig":` +
				`{"m":null,"n":{"Links":["A:x"]}}}}`},

		{"/v4.0.0/libpod/containers/create", `{"image":"x","labels":{"a":"b"}}`,
			`{"image":"x","labels":{"a":"b","palisade.owner":"user:alice"}}`},
		{"/v4.0.0/libpod/containers/create",
			`{"netns":{"nsmode":"container","value":"web"},"ipcns":{"nsmode":"host"}}`,
			`{"ipcns":{"nsmode":"host"},"labels":` + label + `,"netns":{"nsmode":"container","value":"A"}}`},
		{"/v4.0.0/libpod/containers/create", `{"netns":{"nsmode":"container","value":"db"}}`, ""},
		{"/v4.0.0/libpod/containers/create", `{"pidns":{"nsmode":"path","value":"/proc/1/ns/pid"}}`, ""},
		{"/v4.0.0/libpod/containers/create", `{"pod":"p"}`, ""},
		{"/v4.0.0/libpod/containers/create", `{"volumes_from":["db"]}`, ""},
		{"/v4.0.0/libpod/containers/create", `{"dependencyContainers":["web"],"volumes_from":["web:z"]}`,
			`{"dependencyContainers":["A"],"labels":` + label + `,"volumes_from":["A:z"]}`},
		{"/v4.0.0/libpod/containers/create", `{"dependencyContainers":["db"]}`, ""},

		{"/networks/n/connect", `{"Container":"web","EndpointConfig":{"Links":["web:x"]}}`,
			`{"Container":"A","EndpointConfig":{"Links":["A:x"]}}`},
		{"/networks/n/disconnect", `{"container":"web","Force":true}`, `{"Force":true,"container":"A"}`},
		{"/networks/n/connect", `{"Container":"db"}`, ""},
		{"/networks/n/connect", `{"Container":"web","container":"db"}`, ""},
		{"/networks/n/connect", `{}`, ""},
	} {
		r := PodmanRequest("POST", c.uri, []byte(c.body)).WithOwners(fakeOwners{})
		f, err := own("user:alice", r)
		got := ""
		if err == nil {
			got = strings.ReplaceAll(string(f.Body), aliceID, "A")
		}
		if got != c.want || err == nil && (f.ContentType != jsonType || f.URI != c.uri) {
			t.Errorf("%s %s: got %s, want %s: %v", c.uri, c.body, got, c.want, err)
		}
	}
}

// TestLabelled checks the label that a front sets for policies without "own".
func TestLabelled(t *testing.T) {
	for _, c := range []struct {
		id         Identity
		body, want string
		owner      bool
	}{
		{Identity{User: "root"}, `{}`, `{"Labels":{"palisade.owner":"user:root"}}`, true},
		{Identity{UnixUser: "dave"}, `{}`, `{"Labels":{"palisade.owner":"unix:dave"}}`, true},
		{Identity{Container: &Container{Name: "ci"}}, `{}`,
			`{"Labels":{"palisade.owner":"container:ci"}}`, true},
		{Identity{User: "root"}, `{"Labels":{"palisade.owner":"user:bob"}}`, "", true},
		{Identity{User: "root"}, `{"A":1,"A":2}`, "", true},
		{Identity{User: "root"}, `{}`, "", false},
		{Identity{}, `{}`, "", true},
	} {
		r := DockerRequest("POST", "/containers/create?name=x", []byte(c.body))
		if c.owner {
			r = r.WithOwners(fakeOwners{})
		}
		d, got := ownSet(t).Decide(c.id, r), ""
		if d.Forward != nil {
			got = string(d.Forward.Body)
		}
		if got != c.want || d.Forward != nil && d.Forward.URI != "/containers/create?name=x" {
			t.Errorf("%v %s: got %s, want %s", c.id, c.body, got, c.want)
		}
	}
}

// TestOwnWithout checks that "own" denies where the owners are unknown, and clients without a name.
func TestOwnWithout(t *testing.T) {
	s := ownSet(t)
	r := DockerRequest("GET", "/containers/json", nil)
	for _, c := range []struct {
		id Identity
		r  Request
	}{
		{Identity{User: "alice"}, r},
		{Identity{Local: true}, r.WithOwners(fakeOwners{})},
	} {
		if d := s.Decide(c.id, c.r); d.Allow || d.Reason != NotOwn {
			t.Errorf("%v: %v, %s", c.id, d.Allow, d.Explain())
		}
	}
	missing := s.Decide(Identity{User: "alice"},
		DockerRequest("GET", "/containers/xyz/json", nil).WithOwners(fakeOwners{}))
	other := s.Decide(Identity{User: "alice"},
		DockerRequest("GET", "/containers/db/json", nil).WithOwners(fakeOwners{}))
	if strings.ReplaceAll(missing.Explain(), "xyz", "db") != other.Explain() {
		t.Errorf("a client can tell %q from %q", missing.Explain(), other.Explain())
	}
}

// FuzzOwnCreate checks with the engines' own way of parsing that a body has the owner's label, and
// names no container of others.
func FuzzOwnCreate(f *testing.F) {
	f.Add(`{"Image":"x","HostConfig":{"NetworkMode":"container:web","Links":["web:a"]}}`)
	f.Add(`{"labels":{"a":"b"},"HOSTCONFIG":{"volumesfrom":["db:ro"]},"pidmode":"container:db"}`)
	f.Fuzz(func(t *testing.T, text string) {
		forward, err := own("user:alice",
			PodmanRequest("POST", "/containers/create", []byte(text)).WithOwners(fakeOwners{}))
		if err != nil {
			return
		}
		type host struct {
			NetworkMode, PidMode, IpcMode string
			VolumesFrom, Links            []string
		}
		var body struct {
			host
			Labels     map[string]string
			HostConfig host
		}
		if err := json.Unmarshal(forward.Body, &body); err != nil {
			return // so does the engine
		}
		if body.Labels[OwnerLabel] != "user:alice" {
			t.Errorf("%q became %q", text, forward.Body)
		}
		for _, h := range []host{body.host, body.HostConfig} {
			for _, mode := range []string{h.NetworkMode, h.PidMode, h.IpcMode} {
				ref, ok := strings.CutPrefix(mode, "container:")
				if ok && ref != aliceID {
					t.Errorf("%q became %q", text, forward.Body)
				}
			}
			for _, ref := range append(h.VolumesFrom, h.Links...) {
				if ref, _, _ = strings.Cut(ref, ":"); ref != aliceID {
					t.Errorf("%q became %q", text, forward.Body)
				}
			}
		}
	})
}

// FuzzOwnFilters checks that a list always has the filter by the owner's label.
func FuzzOwnFilters(f *testing.F) {
	f.Add(`filters={"label":["a=b"]}`)
	f.Add(`all=1&filters={"label":{"a":false}}&limit=1`)
	f.Fuzz(func(t *testing.T, query string) {
		forward, err := own("user:alice",
			DockerRequest("GET", "/containers/json?"+query, nil).WithOwners(fakeOwners{}))
		if err != nil {
			return
		}
		u, err := url.ParseRequestURI(forward.URI)
		if err != nil {
			t.Fatal(err)
		}
		var filters map[string]map[string]bool
		values := u.Query()["filters"]
		if len(values) != 1 || json.Unmarshal([]byte(values[0]), &filters) != nil ||
			!filters["label"]["palisade.owner=user:alice"] {
			t.Errorf("%q became %q", query, forward.URI)
		}
	})
}

func TestOwnLint(t *testing.T) {
	for line, want := range map[string]bool{
		`{"users":["a"],"actions":[""],"own":true}`:                               true,
		`{"users":["a"],"actions":[""],"own":true,"deny":["privileged"]}`:         true,
		`{"users":["a"],"actions":[""],"own":true,"deny":["privileged","binds"]}`: true,
		`{"users":["a"],"actions":[""],"own":true,"deny":` +
			`["privileged","binds","pid","devices","capabilities:SYS_ADMIN"]}`: true,
		`{"users":["a"],"actions":[""],"own":true,"deny":` +
			`["privileged","binds","pid","devices","capabilities"]}`: false,
		`{"users":["a"],"actions":["container_list"],"exact":true,"own":true}`: false,
		`{"users":["a"],"actions":[""],"deny":["devices"]}`:                    false,
	} {
		s, err := Parse("policy.json", []byte(line))
		if err != nil {
			t.Fatal(err)
		}
		got := false
		for _, w := range s.Lint() {
			got = got || strings.Contains(w.Text, "can reach those of others")
		}
		if got != want {
			t.Errorf("%s: %v, want %v", line, got, want)
		}
	}
}
