package front

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"palisade/internal/authz/action"
)

// FuzzRequests checks for any bytes of a client that the engine gets the requests that were allowed,
// with the same actions, and nothing else.
func FuzzRequests(f *testing.F) {
	for _, text := range []string{
		"GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET http://a/_ping?a=b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
		"GET /info HTTP/1.0\r\n\r\nGET /version HTTP/1.1\r\nHost: x\r\n\r\n",
		"POST /build HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"POST /build HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nA: b\r\n\r\n" +
			"POST /images/load HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\nhi",
		"GET /containers/a%2fb/json HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n",
		"POST /containers/create HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}GET /info HTTP/1.1\r\nHost: x\r\n\r\n",
		"POST /containers/a/attach HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\nGET /info HTTP/1.1\r\n\r\n",
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var mu sync.Mutex
		var got []string
		front := newFixture(t, `{"users":["alice"],"actions":["docker","image","container"],"deny":["privileged"]}`,
			nil, func(c net.Conn) {
				for br := bufio.NewReader(c); ; {
					r, err := http.ReadRequest(br)
					if err != nil {
						return
					}
					mu.Lock()
					got = append(got, action.ForDocker(r.Method, r.RequestURI).Name)
					mu.Unlock()
					if _, err := io.Copy(io.Discard, r.Body); err != nil {
						return
					}
					io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
				}
			})
		c := front.dial(t)
		if _, err := c.Write(text); err != nil {
			t.Skip(err)
		}
		c.CloseWrite()
		c.SetReadDeadline(time.Now().Add(5 * time.Second))
		io.Copy(io.Discard, c)
		for deadline := time.Now().Add(5 * time.Second); front.Open() > 0 && time.Now().Before(deadline); {
			time.Sleep(time.Millisecond)
		}
		front.records.mu.Lock()
		defer front.records.mu.Unlock()
		var allowed []string
		for _, r := range front.all {
			if r.Decision.Allow {
				allowed = append(allowed, r.Decision.Action.Name)
			}
		}
		mu.Lock()
		defer mu.Unlock()
		// The front may have aborted a request whose client has left.
		for i, name := range got {
			if i >= len(allowed) || !slices.Contains(allowed, name) {
				t.Fatalf("the engine got %q, allowed are %q", got, allowed)
			}
		}
	})
}
