package front

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"palisade/internal/authz/audit"
	"palisade/internal/authz/policy"
)

// TestEngineGone checks that a client does not take a part of an answer for all of it.
func TestEngineGone(t *testing.T) {
	for name, answer := range map[string]string{
		"no answer":     "",
		"half a head":   "HTTP/1.1 200 OK\r\nContent-",
		"half a body":   "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello",
		"half a chunk":  "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
		"no last chunk": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
		"only 1xx":      strings.Repeat("HTTP/1.1 102 Processing\r\n\r\n", 20),
		"unasked 101":   "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, everything, nil, func(c net.Conn) {
				http.ReadRequest(bufio.NewReader(c))
				io.WriteString(c, answer)
			})
			resp, err := f.http.Get("http://engine/info")
			if err != nil {
				return
			}
			defer resp.Body.Close()
			text, err := io.ReadAll(resp.Body)
			if resp.StatusCode != http.StatusBadGateway && err == nil {
				t.Errorf("%s, %q", resp.Status, text)
			}
		})
	}
}

func TestNoEngine(t *testing.T) {
	f := newFixture(t, everything, nil, func(net.Conn) {})
	f.pool.path += ".absent"
	code, text := f.get(t, "GET", "/_ping", nil)
	if code != http.StatusBadGateway || !strings.Contains(text, "no such file or directory") {
		t.Errorf("%d %s", code, text)
	}
}

// TestEngineRestarted checks that connections which the engine has closed are not used.
func TestEngineRestarted(t *testing.T) {
	connections := make(chan net.Conn, 10)
	f := newFixture(t, everything, nil, func(c net.Conn) {
		connections <- c
		for br := bufio.NewReader(c); ; {
			r, err := http.ReadRequest(br)
			if err != nil {
				return
			}
			io.Copy(io.Discard, r.Body)
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK")
		}
	})
	for range 3 {
		for _, method := range []string{"GET", "POST"} {
			if code, text := f.get(t, method, "/containers/prune", nil); code != 200 {
				t.Fatalf("%s: %d %s", method, code, text)
			}
		}
		if n := len(connections); n != 1 {
			t.Fatalf("%d connections for 2 requests", n)
		}
		(<-connections).Close()
	}
}

// TestExpect checks that a body is asked for only when the engine wants it.
func TestExpect(t *testing.T) {
	f := newFixture(t, everything, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/images/load" {
			text, err := io.ReadAll(r.Body)
			fmt.Fprintf(w, "%s, %v", text, err)
			return
		}
		w.WriteHeader(http.StatusNotFound)
	}, nil)
	for _, tt := range []struct {
		path string
		want []string
	}{
		{"/images/load", []string{"100 Continue", "200 OK"}},
		{"/build", []string{"404 Not Found"}},
	} {
		c := f.dial(t)
		fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n", tt.path)
		br := bufio.NewReader(c)
		for _, want := range tt.want {
			resp, err := http.ReadResponse(br, nil)
			if err != nil {
				t.Fatal(err)
			}
			if resp.Status != want {
				t.Errorf("%s: %s, want %s", tt.path, resp.Status, want)
			}
			if resp.StatusCode == http.StatusContinue {
				io.WriteString(c, "hello")
			}
			if text, _ := io.ReadAll(resp.Body); resp.StatusCode == 200 && string(text) != "hello, <nil>" {
				t.Errorf("%s: %s", tt.path, text)
			}
		}
	}
}

// TestEarlyAnswer checks that the answer of an engine that does not read the body arrives.
func TestEarlyAnswer(t *testing.T) {
	f := newFixture(t, everything, nil, func(c net.Conn) {
		http.ReadRequest(bufio.NewReader(c))
		io.WriteString(c, "HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
	})
	for range 5 {
		c := f.dial(t)
		go func() { // net/http may prefer the error of a write to the answer
			io.WriteString(c, "POST /build HTTP/1.1\r\nHost: x\r\nContent-Length: 8388608\r\n\r\n")
			io.Copy(c, io.LimitReader(zeros{}, 8<<20))
		}()
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != 400 || string(text) != "no" {
			t.Errorf("%s %q, %v", resp.Status, text, err)
		}
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// TestBrokenBody checks that an engine does not take a part of a body for all of it.
func TestBrokenBody(t *testing.T) {
	for name, sent := range map[string]string{
		"length":    "Content-Length: 10\r\n\r\nhello",
		"chunk":     "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
		"malformed": "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nXYZ\r\n",
		"bare LF":   "Transfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n",
		"two sizes": "Transfer-Encoding: chunked\r\n\r\n5 5\r\nhello\r\n0\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			read := make(chan error, 1)
			f := newFixture(t, everything, func(_ http.ResponseWriter, r *http.Request) {
				_, err := io.ReadAll(r.Body)
				read <- err
			}, nil)
			c := f.dial(t)
			io.WriteString(c, "POST /build HTTP/1.1\r\nHost: x\r\n"+sent)
			c.CloseWrite()
			if err := <-read; err == nil {
				t.Error("the engine has read a whole body")
			}
		})
	}
}

// TestClientGone checks that the engine learns that a client has left.
func TestClientGone(t *testing.T) {
	for _, target := range []string{"/events", "/containers/a/logs?follow=1"} {
		gone := make(chan struct{})
		f := newFixture(t, everything, func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(200)
			http.NewResponseController(w).Flush()
			<-r.Context().Done()
			close(gone)
		}, nil)
		ctx, cancel := context.WithCancel(t.Context())
		r, _ := http.NewRequestWithContext(ctx, "GET", "http://engine"+target, nil)
		resp, err := f.http.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		cancel()
		resp.Body.Close()
		<-gone
	}
}

// TestRevoked checks that a stream ends when its client is not identified any longer, or when new
// policies do not grant it.
func TestRevoked(t *testing.T) {
	stream := func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "POST" {
			attach("HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")(w, r)
			return
		}
		w.WriteHeader(200)
		http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}
	revoke := map[string]func(t *testing.T, f *fixture){
		"client": func(_ *testing.T, f *fixture) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.revoke = errors.New("revoked")
		},
		"policy": func(t *testing.T, f *fixture) {
			if err := os.WriteFile(f.file, []byte(`{"users":["alice"],"actions":["nothing"]}`), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := f.Policies.Reload(); err != nil {
				t.Fatal(err)
			}
		},
	}
	for name, request := range map[string]string{
		"stream": "GET /events HTTP/1.1\r\nHost: x\r\n\r\n",
		"tunnel": "POST /containers/a/attach HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n",
	} {
		for why, revoke := range revoke {
			t.Run(name+" "+why, func(t *testing.T) {
				f := newFixture(t, everything, stream, nil)
				c := f.dial(t)
				io.WriteString(c, request)
				br := bufio.NewReader(c)
				if _, err := http.ReadResponse(br, nil); err != nil {
					t.Fatal(err)
				}
				c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
				if _, err := br.ReadByte(); !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Fatalf("before: %v", err)
				}
				revoke(t, f)
				c.SetReadDeadline(time.Now().Add(10 * time.Second))
				if _, err := io.Copy(io.Discard, br); errors.Is(err, os.ErrDeadlineExceeded) {
					t.Error("the stream does not end")
				}
			})
		}
	}
}

// TestUnidentified checks that a client that is not identified gets nothing, --dry-run or not.
func TestUnidentified(t *testing.T) {
	f := newFixture(t, everything, func(http.ResponseWriter, *http.Request) {
		t.Error("the engine got a request")
	}, nil)
	f.DryRun = true
	f.revoke = errors.New("no certificate")
	if code, text := f.get(t, "GET", "/_ping", nil); code != 403 || !strings.Contains(text, "no certificate") {
		t.Errorf("%d %s", code, text)
	}
}

// TestWebPage sends what a browser on the host would for a page that has another site's name. At
// sockets that stand for a user, any program on the host is that user.
func TestWebPage(t *testing.T) {
	f := newFixture(t, everything, func(http.ResponseWriter, *http.Request) {}, nil)
	for _, tt := range []struct {
		method, origin string
		want           int
	}{
		{"socket", "http://example.com", http.StatusBadRequest},
		{"socket", "", http.StatusOK},
		{"TLS", "http://example.com", http.StatusOK},
	} {
		f.mu.Lock()
		f.method = tt.method
		f.mu.Unlock()
		r, err := http.NewRequest(http.MethodGet, "http://engine/_ping", nil)
		if err != nil {
			t.Fatal(err)
		}
		if tt.origin != "" {
			r.Header.Set("Origin", tt.origin)
		}
		answer, err := f.http.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != tt.want {
			t.Errorf("%s, Origin %q: %d, want %d", tt.method, tt.origin, answer.StatusCode, tt.want)
		}
	}
}

// TestWebPageHost sends what a browser would for a page whose name leads to the front's address.
func TestWebPageHost(t *testing.T) {
	f := newFixture(t, `{"users":["ci"],"actions":[""]}`, func(http.ResponseWriter, *http.Request) {}, nil)
	l, err := listen("tcp://127.0.0.1:0,insecure-no-client-verification=true,user=ci", Env{})
	if err != nil {
		t.Fatal(err)
	}
	go f.Serve(l)
	for host, want := range map[string]int{
		"rebound.example.com:2375": 400, "example.com": 400, "127.0.0.1:2375": 200, "[::1]:2375": 200,
		"localhost": 200, "api.moby.localhost": 200, "d": 200, "": 200,
	} {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(c, "GET /_ping HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", host)
		answer, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		if answer.StatusCode != want {
			t.Errorf("Host %q: %d, want %d", host, answer.StatusCode, want)
		}
		c.Close()
	}
}

func TestDryRun(t *testing.T) {
	f := newFixture(t, `{"users":["alice"],"actions":["container"],"deny":["privileged"]}`,
		func(w http.ResponseWriter, r *http.Request) {
			n, err := io.Copy(io.Discard, r.Body)
			fmt.Fprint(w, n, err)
		}, nil)
	f.DryRun = true
	for _, tt := range []struct{ target, body, want string }{
		{"/build", "", "0 <nil>"},
		{"/containers/create", `{"HostConfig":{"Privileged":true}}`, "75 <nil>"},
		{
			"/containers/create", strings.Repeat(" ", policy.MaxBody+10),
			fmt.Sprint(policy.MaxBody+10, " <nil>"),
		},
	} {
		if code, text := f.get(t, "POST", tt.target, strings.NewReader(tt.body)); code != 200 || text != tt.want {
			t.Errorf("%s: %d %s, want %s", tt.target, code, text, tt.want)
		}
		if r := f.last(t); r.Decision.Allow || !r.DryRun {
			t.Errorf("%s: %+v", tt.target, r)
		}
	}
}

// TestSlowBody checks that a body that rules need does not wait for ever.
func TestSlowBody(t *testing.T) {
	f := newFixture(t, `{"users":["alice"],"actions":[""],"deny":["privileged"]}`,
		func(http.ResponseWriter, *http.Request) { t.Error("the engine got a request") }, nil)
	f.bodyTime = 50 * time.Millisecond
	c := f.dial(t)
	io.WriteString(c, "POST /containers/create HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{")
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil || resp.StatusCode != 400 {
		t.Errorf("%v, %v", resp, err)
	}
	if r := f.last(t); r.Fault != audit.Late {
		t.Errorf("%+v", r)
	}
}

// TestShutdown checks that requests and streams end by themselves in the time limit, and that the
// others are cut.
func TestShutdown(t *testing.T) {
	for _, limit := range []time.Duration{10 * time.Second, 50 * time.Millisecond} {
		end := make(chan struct{})
		f := newFixture(t, everything, func(w http.ResponseWriter, r *http.Request) {
			if r.Method == "POST" {
				attach("HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")(w, r)
				return
			}
			w.WriteHeader(200)
			http.NewResponseController(w).Flush()
			select {
			case <-end:
				io.WriteString(w, "end")
			case <-r.Context().Done():
			}
		}, nil)
		stream, tunnel := f.dial(t), f.dial(t)
		io.WriteString(stream, "GET /events HTTP/1.1\r\nHost: x\r\n\r\n")
		io.WriteString(tunnel,
			"POST /containers/a/attach HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\nhello")
		streamReader, tunnelReader := bufio.NewReader(stream), bufio.NewReader(tunnel)
		answer, err := http.ReadResponse(streamReader, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := http.ReadResponse(tunnelReader, nil); err != nil {
			t.Fatal(err)
		}
		done := make(chan error)
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), limit)
			defer cancel()
			done <- f.Shutdown(ctx)
		}()
		if limit > time.Second {
			close(end)
			tunnel.CloseWrite()
		}
		streamText, streamErr := io.ReadAll(answer.Body)
		tunnelText, _ := io.ReadAll(tunnelReader)
		if err := <-done; err != nil {
			t.Error(err)
		}
		if ended := string(streamText) == "end" && string(tunnelText) == "got HELLO"; ended != (limit > time.Second) {
			t.Errorf("%v: %q, %v; %q", limit, streamText, streamErr, tunnelText)
		}
	}
}

// TestRestOfBody checks that the rest of a body that was not read is not taken for a request.
func TestRestOfBody(t *testing.T) {
	const hidden = "GET /hidden HTTP/1.1\r\nHost: x\r\n\r\n"
	f := newFixture(t, `{"users":["alice"],"actions":["image","events"]}`, nil, func(c net.Conn) {
		r, err := http.ReadRequest(bufio.NewReader(c))
		if err == nil && r.URL.Path == "/build" {
			io.WriteString(c, "HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\n\r\nno")
			io.Copy(io.Discard, c)
		}
	})
	for name, sent := range map[string]string{
		"answered early":   "POST /build HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\n\r\n",
		"early, chunked":   "POST /build HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nfff\r\n",
		"malformed":        "POST /build HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nXYZ\r\n",
		"denied":           "POST /swarm/init HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\n\r\n",
		"denied, chunked":  "POST /swarm/init HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nfff\r\n",
		"denied malformed": "POST /swarm/init HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nXYZ\r\n",
		"denied, expected": "POST /swarm/init HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 9999\r\n\r\n",
		"gone":             "POST /images/load HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			before := len(f.all)
			c := f.dial(t)
			io.WriteString(c, sent+hidden)
			br := bufio.NewReader(c)
			if resp, err := http.ReadResponse(br, nil); err == nil {
				io.Copy(io.Discard, resp.Body)
				io.WriteString(c, strings.Repeat(hidden, 10))
			}
			text, _ := io.ReadAll(br)
			f.records.mu.Lock()
			defer f.records.mu.Unlock()
			if len(text) > 0 || len(f.all) != before+1 {
				t.Errorf("%d decisions, then %q", len(f.all)-before, text)
			}
		})
	}
}
