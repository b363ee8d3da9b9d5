package broker

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// The paths of Docker's protocol for requests and responses.
const (
	authzReq = "/AuthZPlugin.AuthZReq"
	authzRes = "/AuthZPlugin.AuthZRes"
)

// answerTime is the time limit for answers on a busy machine.
const answerTime = 10 * time.Second

// head returns the head of a request of Docker.
func head(path string, length int) string {
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: plugin\r\nContent-Length: %d\r\n\r\n", path, length)
}

// TestSlowRequests checks that an incomplete request is answered.
func TestSlowRequests(t *testing.T) {
	withClock(t, testSlowRequests)
}

func testSlowRequests(t *testing.T, serve serveFunc) {
	f := serve(t, `{"users":[""],"actions":[""]}`)
	const (
		isulad = "POST /isulad.auth HTTP/1.1\r\nHost: localhost\r\nContent-Length: 20\r\n\r\nalice:"
		late   = `{"Allow":false,"Msg":"the request did not arrive within 800ms"}`
	)
	for _, c := range []struct {
		name, socket, sent string
		code               int
		text               string
	}{
		{"request", f.docker, head(authzReq, 100) + `{"User":"alice"`, 200, late},
		{"large", f.docker, head(authzReq, 5<<20) + strings.Repeat(" ", 3<<20), 200, late},
		{"too large", f.docker, head(authzReq, 50<<20) + strings.Repeat(" ", 3<<20), 200, late},
		{
			"in chunks", f.docker, "POST " + authzReq + " HTTP/1.1\r\nHost: x\r\n" +
				"Transfer-Encoding: chunked\r\n\r\n5\r\n{\"Use", 200, late,
		},
		{
			"response", f.docker, head(authzRes, 50<<20) + strings.Repeat("x", 3<<20), 200, `{"Allow":true}`,
		},
		{"activation", f.docker, head("/Plugin.Activate", 100) + "x", 200, "authz"},
		{"unknown path", f.docker, head("/x", 100) + "x", 404, ""},
		{"unknown path of isulad", f.isulad, head("/x", 100) + "x", 404, ""},
		{"other method", f.isulad, "PUT" + strings.TrimPrefix(isulad, "POST"), 405, ""},
		{"isulad", f.isulad, isulad, 403, ""},
	} {
		started := time.Now()
		r, text := f.raw(t, c.socket, c.sent)
		took := time.Since(started)
		if r.StatusCode != c.code || !strings.Contains(text, c.text) || took > time.Second {
			t.Errorf("%s: %s %q after %v", c.name, r.Status, text, took)
		}
	}
}

// TestSlowResponse checks that the rest of a response is read after it was answered, and that the
// connection stays usable.
func TestSlowResponse(t *testing.T) {
	withClock(t, testSlowResponse)
}

func testSlowResponse(t *testing.T, serve serveFunc) {
	f := serve(t, alicesContainers)
	c := f.dial(t, f.docker)
	defer c.Close()
	send := func(text string) {
		t.Helper()
		if _, err := io.WriteString(c, text); err != nil {
			t.Fatal(err)
		}
	}
	send(head(authzRes, 8<<20) + strings.Repeat("x", 4<<20))
	if r, text := readAnswer(t, c); r.StatusCode != 200 || text != `{"Allow":true}` {
		t.Fatalf("%s %s", r.Status, text)
	}
	send(strings.Repeat("x", 4<<20))
	send(head("/Plugin.Activate", 0))
	if r, text := readAnswer(t, c); r.StatusCode != 200 || text != string(activated) {
		t.Errorf("%s %s", r.Status, text)
	}
}

func TestLargeRequests(t *testing.T) {
	t.Parallel()
	f := serve(t, `{"users":["alice"],"actions":[""],"deny":["privileged"]}`)
	padded := func(size int) string { // a request of that size
		q := `{"User":"alice","RequestMethod":"GET","RequestUri":"/info","RequestHeaders":{"X":"`
		return q + strings.Repeat("x", size-len(q)-3) + `"}}`
	}
	for _, c := range []struct {
		path, text, want string
	}{
		{authzReq, padded(maxRequest), `{"Allow":true}`},
		{authzReq, padded(maxRequest + 1), "larger than 16 MiB"},
		{authzReq, padded(20 << 20), "larger than 16 MiB"},
		{authzRes, strings.Repeat("x", 64<<20), `{"Allow":true}`},
	} {
		for _, chunked := range []bool{false, true} {
			var body io.Reader = strings.NewReader(c.text)
			if chunked {
				body = io.MultiReader(body)
			}
			started := time.Now()
			code, text := f.post(t, c.path, body)
			took := time.Since(started)
			// With the race detector and parallel tests 16 MiB may not arrive in time.
			late := c.path == authzReq && strings.Contains(text, errLate.Error())
			if code != 200 || !strings.Contains(text, c.want) && !late || took > answerTime {
				t.Errorf("%s of %d bytes, in chunks %v: %d %.200s after %v",
					c.path, len(c.text), chunked, code, text, took)
			}
		}
	}
}

// TestManyLargeRequests checks that too many large requests are denied in time, and that other
// requests are answered meanwhile.
func TestManyLargeRequests(t *testing.T) {
	withClock(t, testManyLargeRequests)
}

func testManyLargeRequests(t *testing.T, serve serveFunc) {
	f := serve(t, alicesContainers)
	const more = 3
	var held []net.Conn
	for range maxLarge + more {
		c := f.dial(t, f.docker)
		defer c.Close()
		held = append(held, c)
		if _, err := io.WriteString(c, head(authzReq, maxRequest)+"{"); err != nil {
			t.Fatal(err)
		}
	}
	if a := f.ask(t, userRequest("alice", "GET /containers/json", "")); !a.Allow {
		t.Errorf("%+v", a)
	}
	for _, c := range held {
		if r, text := readAnswer(t, c); r.StatusCode != 200 || !strings.Contains(text, `"Allow":false`) {
			t.Errorf("%s %s", r.Status, text)
		}
	}
}

// TestHalfClosed closes the client's side of the connection after a request, or within one.
func TestHalfClosed(t *testing.T) {
	f := serve(t, `{"users":["alice"],"actions":[""]}`)
	whole := `{"User":"alice","RequestMethod":"GET","RequestUri":"/info"}`
	for _, c := range []struct{ socket, sent, want string }{
		{f.docker, head(authzReq, len(whole)) + whole, `{"Allow":true}`},
		{
			f.docker, head(authzReq, len(whole)) + whole[:20],
			`{"Allow":false,"Msg":"read the request: unexpected EOF"}`,
		},
		{f.docker, head(authzRes, 100) + "x", `{"Allow":true}`},
		{f.isulad, isuladBytes("alice:pull"), ""},
	} {
		conn, err := net.Dial("unix", c.socket)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, c.sent); err != nil {
			t.Fatal(err)
		}
		if err := conn.(*net.UnixConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if r, text := readAnswer(t, conn); r.StatusCode != 200 || text != c.want {
			t.Errorf("%.60q: %s %s", c.sent, r.Status, text)
		}
		conn.Close()
	}
	// Without the head of a request the connection is closed.
	for _, sent := range []string{"", "POST /isu"} {
		conn, err := net.Dial("unix", f.isulad)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(conn, sent)
		conn.(*net.UnixConn).CloseWrite()
		conn.SetReadDeadline(time.Now().Add(20 * time.Second))
		if text, err := io.ReadAll(conn); err != nil || bytes.HasPrefix(text, []byte("HTTP/1.1 200")) {
			t.Errorf("%q: %q, %v", sent, text, err)
		}
		conn.Close()
	}
}

// TestSlowHead checks that a connection without a complete head is closed, and that an idle one is
// not.
func TestSlowHead(t *testing.T) {
	withClock(t, testSlowHead)
}

func testSlowHead(t *testing.T, serve serveFunc) {
	f := serve(t, alicesContainers)
	slow := f.dial(t, f.docker)
	defer slow.Close()
	kept := f.dial(t, f.docker)
	defer kept.Close()
	ask := func() {
		t.Helper()
		if _, err := io.WriteString(kept, head("/Plugin.Activate", 0)); err != nil {
			t.Fatal(err)
		}
		if r, _ := readAnswer(t, kept); r.StatusCode != 200 {
			t.Fatal(r.Status)
		}
	}
	ask()
	if _, err := io.WriteString(slow, "POST /AuthZPlugin.AuthZReq HT"); err != nil {
		t.Fatal(err)
	}
	slow.SetReadDeadline(time.Now().Add(headerTime + 20*time.Second))
	if _, err := io.ReadAll(slow); err != nil && !errors.Is(err, io.EOF) {
		t.Errorf("the connection is not closed: %v", err)
	}
	ask()
}
