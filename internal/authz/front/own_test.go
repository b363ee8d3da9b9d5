package front

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"palisade/internal/authz/policy"
)

// fakeEngine answers questions about containers as Docker does.
func fakeEngine(t *testing.T, answers map[string]any) *Owners {
	t.Helper()
	path := filepath.Join(t.TempDir(), "engine.sock")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(
		func(w http.ResponseWriter, r *http.Request) {
			answer, ok := answers[r.URL.RequestURI()]
			if !ok {
				answer, ok = answers[r.URL.Path]
			}
			switch {
			case !ok:
				w.WriteHeader(http.StatusNotFound)
			case answer == nil:
				w.WriteHeader(http.StatusInternalServerError)
			default:
				json.NewEncoder(w).Encode(answer)
			}
		}))
	server.Listener = listener
	server.Start()
	t.Cleanup(server.Close)
	return NewOwners(path)
}

// TestOwnersWait asks for a container that Podman is removing: it answers 500 at first.
func TestOwnersWait(t *testing.T) {
	path := filepath.Join(t.TempDir(), "engine.sock")
	requests := 0
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if requests++; requests < 3 {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		w.WriteHeader(http.StatusNotFound)
	})}
	go server.Serve(listenUnix(t, path))
	defer server.Close()
	id, owner, err := NewOwners(path).For(t.Context()).Container("web")
	if id != "" || owner != "" || err != nil || requests != 3 {
		t.Errorf("got %q, %q, %v after %d requests, want none after 3", id, owner, err, requests)
	}
}

type m = map[string]any

func owned(id, image, owner string) m {
	return m{"Id": id, "Image": "sha256:" + image, "Config": m{"Labels": m{policy.OwnerLabel: owner}}}
}

func TestOwners(t *testing.T) {
	labelled := m{"Config": m{"Labels": m{policy.OwnerLabel: "user:alice"}}}
	const list = `/containers/json?all=1&filters=%7B%22label%22%3A%5B%22palisade.owner%3Duser%3A`
	answers := map[string]any{
		"/containers/web/json":    owned("1", "plain", "user:alice"),
		"/containers/1/json":      owned("1", "plain", "user:alice"),
		"/containers/forged/json": owned("2", "forged", "user:alice"),
		"/containers/gone/json":   owned("3", "deleted", "user:alice"),
		"/containers/root/json":   m{"Id": "4", "Image": "sha256:forged"},
		"/containers/rootfs/json": m{"Id": "5", "Config": m{"Labels": m{policy.OwnerLabel: "unix:bob"}}},
		"/containers/broken/json": nil,
		"/exec/e/json":            m{"ContainerID": "1"},
		"/exec/named/json":        m{"ContainerID": "9"},
		"/containers/9/json":      owned("1", "plain", "user:alice"), // 9 is the name of 1
		"/images/plain/json":      m{"Config": nil},
		"/images/forged/json":     labelled,
		"/images/a/b:1/json":      labelled,
		list + "alice%22%5D%7D":   []m{{"Id": "1", "ImageID": "sha256:plain"}},
		list + "bob%22%5D%7D":     []m{{"Id": "2", "ImageID": "sha256:forged"}},
	}
	owners := fakeEngine(t, answers)
	q := owners.For(context.Background())
	for _, c := range []struct{ ref, id, owner, err string }{
		{"web", "1", "user:alice", ""},
		{"forged", "2", "", ""},
		{"gone", "3", "", "inspect the image of the container: no such object"},
		{"root", "4", "", ""},
		{"rootfs", "5", "unix:bob", ""},
		{"missing", "", "", ""},
		{"broken", "", "", "GET /containers/broken/json: 500"},
	} {
		id, owner, err := q.Container(c.ref)
		if id != c.id || owner != c.owner || !strings.Contains(errorText(err), c.err) ||
			(err == nil) != (c.err == "") {
			t.Errorf("Container(%q) = %q, %q, %v, want %q, %q, %q", c.ref, id, owner, err,
				c.id, c.owner, c.err)
		}
	}
	delete(answers, "/images/plain/json") // its label is known
	if owner, err := q.Exec("e"); owner != "user:alice" || err != nil {
		t.Errorf("Exec = %q, %v", owner, err)
	}
	if owner, err := q.Exec("named"); owner != "" || err != nil {
		t.Errorf("Exec of another container, whose id is a name = %q, %v", owner, err)
	}
	if owner, err := q.Exec("f"); owner != "" || err != nil {
		t.Errorf("Exec of a missing one = %q, %v", owner, err)
	}
	if ids, err := q.Containers("user:alice"); !slices.Equal(ids, []string{"1"}) || err != nil {
		t.Errorf("Containers = %q, %v", ids, err)
	}
	if ids, err := q.Containers("user:bob"); err == nil {
		t.Errorf("Containers with a label from an image = %q", ids)
	}
	for ref, want := range map[string]bool{"a/b:1": true, "missing": false, "": false} {
		if has, err := q.ImageHasOwner(ref); has != want || err != nil {
			t.Errorf("ImageHasOwner(%q) = %v, %v", ref, has, err)
		}
	}
	for _, ref := range []string{"../containers/web", "a?b", "a/../b", "a//b", "/a", "a b"} {
		if has, err := q.ImageHasOwner(ref); err == nil {
			t.Errorf("ImageHasOwner(%q) = %v", ref, has)
		}
	}
	done, cancel := context.WithCancel(context.Background())
	cancel()
	if _, _, err := owners.For(done).Container("web"); err == nil {
		t.Error("a question of a request that ended was answered")
	}
}

// TestOwn sends requests of alice through a front to an engine with her container and bob's.
func TestOwn(t *testing.T) {
	a, b := strings.Repeat("a", 64), strings.Repeat("b", 64)
	containers := map[string]any{
		"aweb": owned(a, "i", "user:alice"), a: owned(a, "i", "user:alice"), "bweb": owned(b, "i", "user:bob"),
	}
	var got string
	f := newFixture(t, `{"name":"own","users":["alice"],"actions":[""],"own":true}`,
		func(w http.ResponseWriter, r *http.Request) {
			ref, isContainer := strings.CutPrefix(r.URL.Path, "/containers/")
			ref, isInspect := strings.CutSuffix(ref, "/json")
			switch {
			case r.URL.Path == "/images/i/json":
				fmt.Fprint(w, "{}")
			case r.URL.RawQuery == "" && isContainer && isInspect && containers[ref] == nil:
				w.WriteHeader(http.StatusNotFound)
			case r.URL.RawQuery == "" && isContainer && isInspect:
				json.NewEncoder(w).Encode(containers[ref])
			case strings.Contains(r.URL.RawQuery, "%5B"): // the question for all of alice's containers
				fmt.Fprint(w, "[]")
			default:
				body, _ := io.ReadAll(r.Body)
				got = r.Method + " " + r.URL.RequestURI() + " " + r.Header.Get("Content-Type") + " " + string(body)
			}
		}, nil)
	const filter = "filters=%7B%22label%22%3A%7B%22palisade.owner%3Duser%3Aalice%22%3Atrue%7D%7D"
	for _, c := range []struct {
		method, target, body string
		code                 int
		want                 string
	}{
		{"POST", "/containers/aweb/stop?t=1", "", 200, "POST /containers/A/stop?t=1  "},
		{"PUT", "/containers/aweb/archive?path=/", "archive", 200, "PUT /containers/A/archive?path=/  archive"},
		{"POST", "/containers/bweb/stop", "", 404, ""},
		{"PUT", "/containers/bweb/archive?path=/", "archive", 404, ""},
		{"POST", "/containers/missing/stop", "", 404, ""},
		{"GET", "/containers/json?all=1", "", 200, "GET /containers/json?all=1&" + filter + "  "},
		{"POST", "/containers/prune", "filters={}", 200,
			"POST /containers/prune?" + filter + " application/json filters={}"},
		{"POST", "/containers/create?name=x", `{"HostConfig":{"PidMode":"container:aweb"}}`, 200,
			`POST /containers/create?name=x application/json {"HostConfig":{"PidMode":"container:A"},` +
				`"Labels":{"palisade.owner":"user:alice"}}`},
		{"POST", "/containers/create", `{"HostConfig":{"PidMode":"container:bweb"}}`, 403, ""},
		{"POST", "/containers/create", "", 403, ""},
		{"POST", "/networks/n/connect", `{"Container":"aweb"}`, 200,
			`POST /networks/n/connect application/json {"Container":"A"}`},
		{"POST", "/networks/n/connect", `{"Container":"bweb"}`, 404, ""},
		{"POST", "/commit?container=aweb", "{}", 200,
			"POST /commit?changes=LABEL+palisade.owner%3D%22%22&container=A application/json {}"},
		{"GET", "/images/json", "", 200, "GET /images/json  "},
		{"GET", "/system/df", "", 403, ""},
	} {
		got = ""
		code, text := f.get(t, c.method, c.target, strings.NewReader(c.body))
		got = strings.ReplaceAll(got, a, "A")
		if code != c.code || got != c.want {
			t.Errorf("%s %s: %d, %q, want %d, %q: %s", c.method, c.target, code, got, c.code, c.want, text)
		}
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
