package broker

import (
	"fmt"
	"strings"
	"testing"

	"palisade/internal/authz/action"
)

// isuladBytes returns a request as iSulad sends it.
func isuladBytes(body string) string {
	return fmt.Sprintf("POST /isulad.auth HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n"+
		"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

func TestIsulad(t *testing.T) {
	f := serve(t, `{"name":"p","users":["alice","a:b",":"],"actions":["container_list"]}
{"name":"q","users":["bob"],"actions":[""]}
{"name":"r","users":["carol"],"actions":[""],"readonly":true}`)
	for body, want := range map[string]int{
		"alice:container_list":                200,
		"alice:container_list ":               403,
		"alice:container_list\n":              403,
		"alice:Container_list":                403,
		"alice:container_stop":                403,
		"a:b:container_list":                  200, // split at the last colon
		"::container_list":                    200,
		"alice:container_stop:container_list": 403,
		"a:b:container_stop":                  403,
		":container_list":                     403,
		"Alice:container_list":                403,
		"alice":                               403,
		"alice:":                              403,
		"bob:container_stop":                  200,
		"bob:a_new_action":                    200,
		"bob:":                                403, // no policy grants a request without an action
		"carol:a_new_action":                  403,
		"":                                    403,
		"panic:container_list":                500,
		`{"user":"alice"}`:                    403,
		"bob:" + strings.Repeat("x", maxIsuladRequest): 403,
	} {
		r, text := f.raw(t, f.isulad, isuladBytes(body))
		if r.StatusCode != want || text != "" || len(r.Header) != 1 ||
			r.Header.Get("Content-Length") != "0" {
			t.Errorf("%.60q: %s %v %q, want %d", body, r.Status, r.Header, text, want)
		}
	}
	f.post(t, "/AuthZPlugin.AuthZReq", strings.NewReader(""))
	f.raw(t, f.isulad, isuladBytes("alice:container_stop"))
	r := f.records.last()
	if d := r.Decision; r.Engine != "isulad" || d.User != "alice" || d.Allow ||
		d.Action.Name != "container_stop" || d.Policy.Name != "p" {
		t.Errorf("audited as %+v", r)
	}
}

// TestIsuladActions checks each action for a user who may only read, and for one who has only that
// action.
func TestIsuladActions(t *testing.T) {
	all := action.List(action.Isulad)
	if len(all) != 41+34 {
		t.Fatalf("%d actions", len(all))
	}
	var policies strings.Builder
	for _, a := range all {
		fmt.Fprintf(&policies, `{"users":["%s"],"actions":["%s"],"exact":true}`+"\n", a.Name, a.Name)
	}
	f := serve(t, policies.String()+`{"users":["reader"],"actions":[""],"readonly":true}`)
	code := func(user, name string) int {
		t.Helper()
		r, _ := f.raw(t, f.isulad, isuladBytes(user+":"+name))
		return r.StatusCode
	}
	for i, a := range all {
		if got := code("reader", a.Name) == 200; got != a.IsRead() {
			t.Errorf("%s is allowed for the reader: %v", a.Name, got)
		}
		other := all[(i+1)%len(all)].Name
		if code(a.Name, a.Name) != 200 || code(a.Name, other) != 403 {
			t.Errorf("a user who has only %s is denied it, or allowed %s", a.Name, other)
		}
	}
}

// TestIsuladIsNotRedirected checks that other requests are answered neither with 200 nor with 3xx.
func TestIsuladIsNotRedirected(t *testing.T) {
	f := serve(t, `{"users":[""],"actions":[""]}`)
	for _, line := range []string{
		"GET /isulad.auth", "PUT /isulad.auth", "POST /isulad.auth/", "POST //isulad.auth",
		"POST /./isulad.auth", "POST /", "POST /x/../isulad.auth", "POST /ISULAD.AUTH",
		"POST /isulad.auth?x", "POST http://localhost/isulad.auth", "OPTIONS *",
		"POST /AuthZPlugin.AuthZReq", "POST /Plugin.Activate", "CONNECT localhost:80",
		"post /isulad.auth", "GARBAGE",
	} {
		r, text := f.raw(t, f.isulad, line+" HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n"+
			"Connection: close\r\n\r\nalice:pull")
		if r.StatusCode < 400 || text != "" && r.StatusCode != 400 {
			t.Errorf("%s: %s %q", line, r.Status, text)
		}
	}
}
