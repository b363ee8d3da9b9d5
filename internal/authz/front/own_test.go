package front

import (
	"context"
	"encoding/json"
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

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
