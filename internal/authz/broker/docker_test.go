package broker

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"palisade/internal/authz/certs"
)

const alicesContainers = `{"name":"p","users":["alice"],"actions":["container"]}`

func TestDockerProtocol(t *testing.T) {
	f := serve(t, alicesContainers)
	for _, c := range []struct {
		path string
		code int
		text string
	}{
		{"/Plugin.Activate", 200, `{"Implements":["authz"]}`},
		{"/AuthZPlugin.AuthZRes", 200, `{"Allow":true}`},
		{"/AuthZPlugin.AuthZReq/", 404, ""},
		{"//AuthZPlugin.AuthZReq", 404, ""},
		{"/./AuthZPlugin.AuthZReq", 404, ""},
		{"/authzplugin.authzreq", 404, ""},
		{"/AuthZPlugin.AuthZReq?x", 404, ""},
		{"/", 404, ""},
		{"/isulad.auth", 404, ""},
	} {
		code, text := f.post(t, c.path, strings.NewReader("{}"))
		if code != c.code || text != c.text {
			t.Errorf("%s: %d %s, want %d %s", c.path, code, text, c.code, c.text)
		}
	}
	for _, request := range []string{
		"GET /AuthZPlugin.AuthZReq", "OPTIONS *", "PUT /Plugin.Activate",
	} {
		r, text := f.raw(t, f.docker, request+" HTTP/1.1\r\nHost: x\r\n\r\n")
		if r.StatusCode < 400 || text != "" {
			t.Errorf("%s: %s %q", request, r.Status, text)
		}
	}
}

func TestDockerDecisions(t *testing.T) {
	f := serve(t, `{"name":"p","users":["alice"],"actions":["container"],"deny":["privileged"]}
{"name":"q","users":["bob"],"actions":["nothing"],"message":"ask <carol>"}
{"name":"r","users":["carol"],"actions":[""],"readonly":true}`)
	for _, c := range []struct {
		r    authzRequest
		want string
	}{
		{userRequest("alice", "GET /v1.44/containers/json", ""), ""},
		{
			userRequest("alice", "GET /images/json", ""),
			`policy "p" does not grant "image_list" to user "alice"`,
		},
		{userRequest("bob", "GET /images/json", ""), "ask <carol>"},
		{userRequest("", "GET /images/json", ""), "a user without a name is listed in no policy"},
		{userRequest("carol", "GET /images/json", ""), ""},
		{userRequest("carol", "GET /containers/x/attach/ws", ""), "read-only"},
		{userRequest("carol", "GET /no/such", ""), "an unknown request is not a read"},
		{userRequest("alice", "POST /containers/create", ""), "did not send"},
		{userRequest("alice", "POST /containers/create", `{"Image":"x"}`), ""},
		{
			userRequest("alice", "POST /containers/create", `{"HostConfig":{"Privileged":true}}`),
			"Privileged is set",
		},
		{userRequest("alice", "POST /containers/x/exec", `{"Privileged":true}`), "Privileged is set"},
		{userRequest("panic", "GET /info", ""), "internal error in authz-broker"},
	} {
		if a := f.ask(t, c.r); a.Allow != (c.want == "") || !strings.Contains(a.Msg, c.want) {
			t.Errorf("%+v: %+v, want %q", c.r, a, c.want)
		}
	}
}

func TestAuditOfDocker(t *testing.T) {
	f := serve(t, alicesContainers)
	q := userRequest("alice", "GET /images/json?x", "")
	q.UserAuthNMethod = "TLS"
	f.ask(t, q)
	r := f.records.last()
	d := r.Decision
	if d.User != "alice" || d.Action.Name != "image_list" || d.Allow || d.Policy.Name != "p" {
		t.Errorf("%+v", d)
	}
	if r.AuthMethod != "TLS" || r.Method != "GET" || r.URI != "/images/json?x" || r.Latency <= 0 ||
		time.Since(r.Time) > time.Minute || r.Engine != "docker" {
		t.Errorf("%+v", r)
	}
	f.askText(t, "{")
	if r := f.records.last(); r.Decision.Allow || !strings.Contains(r.Reason(), "parse the engine's") {
		t.Errorf("%+v", r)
	}
}

func TestDryRun(t *testing.T) {
	f := serve(t, alicesContainers, func(c *Decider) { c.DryRun = true })
	for _, text := range []string{
		`{"User":"bob","RequestMethod":"GET","RequestUri":"/info"}`, `{`, ``,
	} {
		if a := f.askText(t, text); !a.Allow {
			t.Errorf("%s: %+v", text, a)
		}
		if r := f.records.last(); r.Decision.Allow || !r.DryRun {
			t.Errorf("%s: audited as %+v", text, r)
		}
	}
}

// TestBypassByURI sends requests that look like other ones.
func TestBypassByURI(t *testing.T) {
	f := serve(t, `{"name":"ps","users":["alice"],"actions":["^container_list$"]}
{"name":"watch","users":["bob"],"actions":[""],"readonly":true}`)
	for _, c := range []struct {
		user, request string
		allow         bool
	}{
		{"alice", "GET /containers/json", true},
		{"alice", "GET /v1.44/containers/json?all=1#x", true},
		{"alice", "GET /%63ontainers/json", true},
		{"alice", "GET http://host/containers/json", true},
		{"alice", "GET /v1.44.9/containers/json", true},
		{"alice", "GET /v0.0.0/containers/json", true}, // the daemon refuses the version
		{"alice", "GET /containers/json/json", false},  // a container of that name
		{"alice", "GET /containers/x%2Fcontainers/json", false},
		{"alice", "GET /images/containers/json", false},
		{"alice", "GET /secrets/containers/json", false},
		{"alice", "GET /plugins/containers/json/json", false},
		{"alice", "GET //containers/json", false},
		{"alice", "GET /containers//json", false},
		{"alice", "GET /images/../containers/json", false},
		{"alice", "GET /images/%2e%2e/containers/json", false},
		{"alice", "GET /v1.44/v1.44/containers/json", false},
		{"alice", "GET /containers/json/", false},
		{"alice", "GET /CONTAINERS/json", false},
		{"alice", "get /containers/json", false},
		{"alice", "HEAD /containers/json", false},
		{"alice", "POST /containers/json", false},
		{"alice", "GET /containers/json\x00", false},
		{"alice", "GET /containers/json%00", false},
		{"alice", "GET /x?/containers/json", false},
		{"alice", "GET /x#/containers/json", false},
		{"alice", "DELETE /containers/json?GET /containers/json", false},
		{"bob", "GET /containers/x/json", true},
		{"bob", "POST /containers/x/wait", true},
		{"bob", "HEAD /_ping", true},
		{"bob", "GET /containers/x/attach/ws", false},
		{"bob", "GET /v1.44/containers/x/attach/ws?stream=1", false},
		{"bob", "GET /containers/x%2Fattach%2Fws", false},
		{"bob", "GET /containers/x/attach/ws/", false},
		{"bob", "GET /no/such/thing", false},
		{"bob", "GET /swarm", false}, // the manager's token
		{"bob", "GET /v1.44/swarm/unlockkey", false},
		{"bob", "GET /configs/x", false},
		{"bob", "GET /secrets/x", true},
		{"bob", "POST /containers/x/start", false},
		{"bob", "DELETE /containers/wait", false},
	} {
		if a := f.ask(t, userRequest(c.user, c.request, "")); a.Allow != c.allow {
			t.Errorf("%s: %s: %+v, want %v", c.user, c.request, a, c.allow)
		}
	}
}

// TestBypassByJSON sends requests that are ambiguous or invalid.
func TestBypassByJSON(t *testing.T) {
	f := serve(t, `{"name":"p","users":["alice"],"actions":["container"]}
{"name":"rest","users":["bob"],"actions":["image"],"deny":["privileged"]}`)
	const good = `"User":"alice","RequestMethod":"GET","RequestUri":"/containers/json"`
	for text, want := range map[string]string{
		`{` + good + `}`:                    "",
		`{` + good + `,"Future":{"a":[1]}}`: "",
		`{` + good + `,"RequestBody":null,"RequestPeerCertificates":null,"RequestHeaders":null}`: "",
		``:                                 "sent an empty request",
		`{}`:                               "is missing",
		`null`:                             "is missing",
		`[]`:                               "parse the engine's request",
		`{` + good:                         "parse the engine's request",
		`{` + good + `}{}`:                 "parse the engine's request",
		`{` + good + `,"User":"alice"}`:    "duplicate key",
		`{"User":"bob",` + good + `}`:      "duplicate key",
		`{` + good + `,"user":"alice"}`:    "duplicate key",
		`{` + good + `,"uſer":"alice"}`:    "duplicate key",
		`{` + good + `,"requesturi":"/"}`:  "duplicate key",
		`{` + good + `,"RequestBody":1}`:   "decode the request's body",
		`{` + good + `,"RequestBody":"%"}`: "decode the request's body",
		`{` + good + `,"RequestPeerCertificates":"x"}`:              "parse the engine's request",
		`{` + good + `,"RequestPeerCertificates":["eA=="]}`:         "not a certificate in PEM",
		`{` + good + `,"RequestPeerCertificates":[null]}`:           "not a certificate in PEM",
		`{` + good + `,"RequestPeerCertificates":[{}]}`:             "parse the client's certificate",
		`{"User":1,"RequestMethod":"GET","RequestUri":"/info"}`:     "parse the engine's request",
		`{"User":"alice","RequestMethod":["GET"]}`:                  "parse the engine's request",
		`{"User":"alice","RequestMethod":"GET"}`:                    "is missing",
		`{"User":"alice","RequestUri":"/containers/json"}`:          "is missing",
		`{"User":null,"RequestMethod":"GET","RequestUri":"/_ping"}`: "a user without a name",
		"\x00": "parse the engine's request",
	} {
		if a := f.askText(t, text); a.Allow != (want == "") || !strings.Contains(a.Msg, want) {
			t.Errorf("%s: %+v, want %q", text, a, want)
		}
	}
}

func TestIdentity(t *testing.T) {
	dir := t.TempDir()
	if _, err := certs.Create(certs.Request{
		Dir: dir, Clients: []string{"alice", "bob"}, Groups: []string{"ops"}, Valid: time.Hour,
	}); err != nil {
		t.Fatal(err)
	}
	read := func(name string) []byte {
		t.Helper()
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	alice, bob, ca := read("alice/cert.pem"), read("bob/cert.pem"), read("ca.pem")
	f := serve(t, `{"name":"p","groups":["ops"],"actions":["docker_info"]}`)
	const invalid = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
	for _, c := range []struct {
		user         string
		certificates [][]byte
		want         string
	}{
		{"alice", [][]byte{alice, ca}, ""},
		{"alice", [][]byte{alice, ca}, ""}, // from the cache
		{"alice", nil, "is listed in no policy"},
		{"alice", [][]byte{bob}, `the engine names the user "alice", but the certificate names "bob"`},
		{"", [][]byte{alice}, `names the user ""`},
		{"alice", [][]byte{ca, alice}, `the certificate names "authz-broker CA"`},
		{"alice", [][]byte{alice[:len(alice)/2]}, "not a certificate in PEM"},
		{"alice", [][]byte{read("alice/key.pem")}, "not a certificate in PEM"},
		{"alice", [][]byte{[]byte(invalid)}, "parse the client's certificate"},
	} {
		r := userRequest(c.user, "GET /info", "")
		r.RequestPeerCertificates = c.certificates
		a := f.ask(t, r)
		if a.Allow != (c.want == "") || !strings.Contains(a.Msg, c.want) {
			t.Errorf("%q: %+v, want %q", c.user, a, c.want)
		}
	}
}

// FuzzDecodeRequest compares accepted requests with what encoding/json returns.
func FuzzDecodeRequest(f *testing.F) {
	for _, text := range []string{
		`{"User":"a","RequestMethod":"GET","RequestUri":"/info","RequestBody":"e30="}`,
		`{"user":"a","RequestUri":"/","RequestMethod":"x","User":"b"}`, `{`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := decodeRequest(text)
		if err != nil {
			return
		}
		r.body() // must not panic
		identify(r)
		var plain authzRequest
		var shape struct{ RequestBody, RequestHeaders, RequestPeerCertificates json.RawMessage }
		if json.Unmarshal(text, &shape) != nil {
			t.Fatalf("%q is accepted, but is not an object", text)
		}
		json.Unmarshal(text, &plain) // fails for other fields of a wrong type, after the strings
		if plain.User != r.User.Value || plain.RequestMethod != r.RequestMethod.Value ||
			plain.RequestURI != r.RequestURI.Value {
			t.Errorf("%q is decoded as %+v, want %+v", text, r, plain)
		}
	})
}
