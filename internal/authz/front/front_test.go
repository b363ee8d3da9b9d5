package front

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"palisade/internal/authz/action"
	"palisade/internal/authz/audit"
	"palisade/internal/authz/broker"
	"palisade/internal/authz/policy"
)

// records is an auditor that keeps the records.
type records struct {
	mu  sync.Mutex
	all []audit.Record
}

func (r *records) Add(record audit.Record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, record)
}

func (r *records) last(t *testing.T) audit.Record {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.all) == 0 {
		t.Fatal("no audit record")
	}
	return r.all[len(r.all)-1]
}

// fixture is a front with one client, alice, whose engine is a function.
type fixture struct {
	*Front
	*records
	socket string
	file   string // the policies
	http   *http.Client
	// revoke, if it is not nil, is why the client is not identified any longer.
	mu     sync.Mutex
	revoke error
	method string // by which clients are identified
}

// clientListener identifies all clients as alice.
type clientListener struct {
	net.Listener
	f *fixture
}

func (l clientListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &Conn{Conn: c, client: func(context.Context) (Client, error) {
		l.f.mu.Lock()
		defer l.f.mu.Unlock()
		return Client{policy.Identity{User: "alice"}, l.f.method}, l.f.revoke
	}}, nil
}

// newFixture starts a front. handler is the engine; raw may serve its connections instead.
func newFixture(t *testing.T, policies string, handler http.HandlerFunc, raw func(net.Conn)) *fixture {
	t.Helper()
	dir := t.TempDir()
	engine := filepath.Join(dir, "engine.sock")
	l, err := net.Listen("unix", engine)
	if err != nil {
		t.Fatal(err)
	}
	if raw != nil {
		t.Cleanup(func() { l.Close() })
		go func() {
			for c, err := l.Accept(); err == nil; c, err = l.Accept() {
				go func() {
					defer c.Close()
					raw(c)
				}()
			}
		}()
	} else {
		server := httptest.NewUnstartedServer(handler)
		server.Listener = l
		server.Start()
		t.Cleanup(server.Close)
	}
	file := filepath.Join(dir, "policy.json")
	if err := os.WriteFile(file, []byte(policies), 0o600); err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	set, err := broker.OpenPolicies(file, log)
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{
		records: new(records), socket: filepath.Join(dir, "front.sock"), file: file, method: "test",
	}
	f.Front = New(Config{
		Decider: broker.Decider{Policies: set, Audit: f.records, Log: log},
		Engine:  action.Docker, Upstream: engine,
	})
	f.interval = 10 * time.Millisecond
	fl, err := net.Listen("unix", f.socket)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error)
	go func() { served <- f.Serve(clientListener{fl, f}) }()
	f.http = &http.Client{Transport: &http.Transport{
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			return net.Dial("unix", f.socket)
		},
	}}
	t.Cleanup(func() {
		f.http.CloseIdleConnections()
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		f.Shutdown(ctx)
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return f
}

const everything = `{"name":"all","users":["alice"],"actions":[""]}`

// dial opens a connection on which the test must not wait longer than 10 seconds.
func (f *fixture) dial(t *testing.T) *net.UnixConn {
	t.Helper()
	c, err := net.Dial("unix", f.socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(10 * time.Second))
	return c.(*net.UnixConn)
}

func (f *fixture) get(t *testing.T, method, target string, body io.Reader) (int, string) {
	t.Helper()
	r, err := http.NewRequest(method, "http://engine"+target, body)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := f.http.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

func TestDecisions(t *testing.T) {
	f := newFixture(t, `{"name":"p","users":["alice"],"actions":["container","docker_ping"],`+
		`"deny":["privileged"]}`,
		func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			fmt.Fprintf(w, "%s %s %s", r.Method, r.RequestURI, body)
		}, nil)
	for _, tt := range []struct {
		method, target, body string
		code                 int
		want                 string
	}{
		{"GET", "/_ping", "", 200, "GET /_ping "},
		{"GET", "/v1.41/containers/json?all=1", "", 200, "GET /v1.41/containers/json?all=1 "},
		{"GET", "/images/json", "", 403, `does not grant \"image_list\" to user \"alice\"`},
		{"POST", "/containers/create", `{"Image":"a"}`, 200, `POST /containers/create {"Image":"a",` +
			`"Labels":{"palisade.owner":"user:alice"}}`},
		{"POST", "/containers/create", `{"HostConfig":{"Privileged":true}}`, 403, "Privileged is set"},
		{"POST", "/containers/create", "", 403, "has rules about the body"},
		{"POST", "/containers/create", `{"Image":"` + strings.Repeat("a", policy.MaxBody) + `"}`, 400,
			"the body is larger than 1 MiB"},
		{"GET", "/containers/%2e%2e/json", "", 403, "an unknown request"},
		{"GET", "/new", "", 403, "only a policy for all actions does"},
		{"GET", "/containers/json?a=%zz", "", 400, "parse the query"},
		{"GET", "/containers/json?a=1;all=1", "", 400, "parse the query"},
		{"HEAD", "/images/json", "", 403, ""},
	} {
		code, text := f.get(t, tt.method, tt.target, strings.NewReader(tt.body))
		if code != tt.code || !strings.Contains(text, tt.want) {
			t.Errorf("%s %s: %d %s, want %d %s", tt.method, tt.target, code, text, tt.code, tt.want)
		}
		if r := f.last(t); r.AuthMethod != "test" || r.Decision.User != "alice" ||
			r.Decision.Allow != (tt.code == 200) {
			t.Errorf("%s %s: %+v", tt.method, tt.target, r)
		}
	}
}

// TestRebuilt checks the bytes that the engine gets for the bytes that a client sends. A request
// that net/http refuses does not reach the engine.
func TestRebuilt(t *testing.T) {
	got := make(chan string, 1)
	f := newFixture(t, everything, nil, func(c net.Conn) {
		br := bufio.NewReader(c)
		var text strings.Builder
		for {
			line, err := br.ReadString('\n')
			text.WriteString(line)
			if err != nil || line == "\r\n" {
				break
			}
		}
		got <- text.String()
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
		io.Copy(io.Discard, br)
	})
	const h = "Host: localhost\r\n"
	for name, tt := range map[string]struct{ sent, want string }{
		"plain": {"GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n", "GET /_ping HTTP/1.1\r\n" + h + "\r\n"},
		"absolute target": {"GET http://evil:1/_ping?a HTTP/1.1\r\nHost: x\r\n\r\n",
			"GET /_ping?a HTTP/1.1\r\n" + h + "\r\n"},
		"HTTP/1.0": {"GET /_ping HTTP/1.0\r\n\r\n", "GET /_ping HTTP/1.1\r\n" + h + "\r\n"},
		"fragment": {"GET /info#x HTTP/1.1\r\nHost: x\r\n\r\n", "GET /info%23x HTTP/1.1\r\n" + h + "\r\n"},
		"length and chunked": {"POST /build HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n" +
			"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
			"POST /build HTTP/1.1\r\n" + h + "Transfer-Encoding: chunked\r\n\r\n"},
		"two lengths": {"POST /build HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
			""},
		"list of lengths": {"POST /build HTTP/1.1\r\nHost: x\r\nContent-Length: 5, 5\r\n\r\n", ""},
		"signed length":   {"POST /build HTTP/1.1\r\nHost: x\r\nContent-Length: +5\r\n\r\n", ""},
		"two hosts":       {"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", ""},
		"space in name":   {"GET / HTTP/1.1\r\nHost: x\r\nContent-Length : 5\r\n\r\n", ""},
		"space in target": {"GET /a b HTTP/1.1\r\nHost: x\r\n\r\n", ""},
		"NUL":             {"GET / HTTP/1.1\r\nHost: x\r\nA: \x00\r\n\r\n", ""},
		"CR in value":     {"GET / HTTP/1.1\r\nHost: x\r\nA: b\rC: d\r\n\r\n", ""},
		"other encoding":  {"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", ""},
		"encoding twice":  {"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, identity\r\n\r\n", ""},
		"CONNECT":         {"CONNECT engine:80 HTTP/1.1\r\nHost: x\r\n\r\n", ""},
		"OPTIONS *":       {"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", ""},
		"HTTP/2":          {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", ""},
		"query of a form": {"GET /info?a=1;b=2 HTTP/1.1\r\nHost: x\r\n\r\n", ""},
		"form in the body": {"POST /commit?container=a HTTP/1.1\r\nHost: x\r\nContent-Length: 11\r\n" +
			"Content-Type: application/x-www-form-URLencoded; a=b\r\n\r\ncontainer=b", ""},
		"continued line": {"GET /_ping HTTP/1.1\r\nHost: x\r\nA: b\r\n Transfer-Encoding: chunked\r\n\r\n",
			"GET /_ping HTTP/1.1\r\n" + h + "A: b Transfer-Encoding: chunked\r\n\r\n"},
		"next hop": {"GET /_ping HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, A\r\nA: b\r\nKeep-Alive: 5\r\n" +
			"Te: trailers\r\nProxy-Authorization: x\r\nB: c\r\n\r\n",
			"GET /_ping HTTP/1.1\r\n" + h + "B: c\r\n\r\n"},
		"HTTP/2 upgrade": {"POST /session HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\n" +
			"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\nContent-Length: 0\r\n\r\n",
			"POST /session HTTP/1.1\r\n" + h + "Content-Length: 0\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"},
		"upgrade of another action": {"GET /info HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
			"GET /info HTTP/1.1\r\n" + h + "\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			c := f.dial(t)
			if _, err := io.WriteString(c, tt.sent); err != nil {
				t.Fatal(err)
			}
			resp, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				t.Fatal(err)
			}
			text := ""
			select {
			case text = <-got:
			default:
			}
			if text != tt.want {
				t.Errorf("the engine got\n%s\nwant\n%s", text, tt.want)
			}
			if refused := resp.StatusCode/100 != 2; refused != (tt.want == "") {
				t.Errorf("the client got %s", resp.Status)
			}
		})
	}
}

// TestStreams checks that each line of a body arrives before the next one is sent, and each answer.
func TestStreams(t *testing.T) {
	f := newFixture(t, everything, func(w http.ResponseWriter, r *http.Request) {
		c := http.NewResponseController(w)
		c.EnableFullDuplex()
		w.Header().Set("Trailer", "Sum")
		w.WriteHeader(http.StatusOK)
		c.Flush()
		lines := bufio.NewScanner(r.Body)
		for lines.Scan() {
			fmt.Fprintf(w, "got %s\n", lines.Text())
			c.Flush()
		}
		w.Header().Set("Sum", r.Trailer.Get("Checksum"))
	}, nil)
	for name, length := range map[string]int64{"chunked": -1, "with a length": 6} {
		t.Run(name, func(t *testing.T) { testStream(t, f, length) })
	}
}

func testStream(t *testing.T, f *fixture, length int64) {
	body, send := io.Pipe()
	r, err := http.NewRequest("POST", "http://engine/build", body)
	if err != nil {
		t.Fatal(err)
	}
	if length < 0 {
		r.Trailer = http.Header{"Checksum": nil}
	}
	r.ContentLength = length
	resp, err := f.http.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answers := bufio.NewReader(resp.Body)
	for i := range 3 {
		fmt.Fprintf(send, "%d\n", i)
		line, err := answers.ReadString('\n')
		if want := fmt.Sprintf("got %d\n", i); err != nil || line != want {
			t.Fatalf("got %q, %v, want %q", line, err, want)
		}
	}
	want := ""
	if length < 0 {
		want = "42"
		r.Trailer.Set("Checksum", want)
	}
	send.Close()
	if _, err := answers.ReadByte(); err != io.EOF {
		t.Errorf("end of the answer: %v", err)
	}
	if got := resp.Trailer.Get("Sum"); got != want {
		t.Errorf("trailer %q", got)
	}
}

// TestReadAheadEnds checks that a connection that waits for a request holds no buffer of the body
// before.
func TestReadAheadEnds(t *testing.T) {
	ahead := make(chan bool, 1)
	f := newFixture(t, everything, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
	}, nil)
	previous := f.server.Handler
	f.server.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ahead <- r.Context().Value(connKey{}).(*Conn).ahead != nil
		previous.ServeHTTP(w, r)
	})
	client := f.dial(t)
	answers := bufio.NewReader(client)
	send := func() (wasAhead bool) {
		io.WriteString(client, "POST /build HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"+
			"1\r\nx\r\n0\r\n\r\n")
		resp, err := http.ReadResponse(answers, nil)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body)
		return <-ahead
	}
	send()
	for tries := 0; ; tries++ {
		time.Sleep(100 * time.Millisecond) // so that the connection waits for the next request
		if !send() {
			break
		}
		if tries == 50 {
			t.Fatal("the connection still reads ahead")
		}
	}
}

// attach answers like the engines to attach and exec: after the head the connection has raw bytes.
func attach(head string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		c, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer c.Close()
		io.WriteString(c, head)
		text, _ := io.ReadAll(buffered) // until the client closes its side
		fmt.Fprintf(c, "got %s", bytes.ToUpper(text))
	}
}

func TestAttach(t *testing.T) {
	const raw = "Content-Type: application/vnd.docker.raw-stream\r\n"
	for name, tt := range map[string]struct{ request, answer string }{
		"upgrade": {
			"POST /containers/a/attach?stdin=1 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n",
			"HTTP/1.1 101 UPGRADED\r\n" + raw + "Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n",
		},
		"websocket": {
			"GET /containers/a/attach/ws HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\n" +
				"Upgrade: WebSocket\r\nSec-WebSocket-Key: x\r\n\r\n",
			"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
		},
		"no upgrade": {"POST /containers/a/attach HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
			"HTTP/1.1 200 OK\r\n" + raw + "\r\n"},
		"exec": {"POST /exec/a/start HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}",
			"HTTP/1.1 200 OK\r\n" + raw + "\r\n"},
		"exec, chunked": {"POST /exec/a/start HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
			"HTTP/1.1 200 OK\r\n" + raw + "\r\n"},
	} {
		for _, early := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s early=%v", name, early), func(t *testing.T) {
				f := newFixture(t, everything, attach(tt.answer), nil)
				c := f.dial(t)
				br := bufio.NewReader(c)
				stdin := strings.Repeat("stdin ", 100000)
				readHead := func() {
					resp, err := http.ReadResponse(br, nil)
					if err != nil || !strings.Contains(tt.answer, " "+resp.Status+"\r\n") {
						t.Fatalf("%v, %v", resp, err)
					}
				}
				if early {
					go func() {
						io.WriteString(c, tt.request+stdin)
						c.CloseWrite()
					}()
					readHead()
				} else {
					io.WriteString(c, tt.request)
					readHead()
					io.WriteString(c, stdin)
					c.CloseWrite()
				}
				text, err := io.ReadAll(br)
				if want := "got " + strings.ToUpper(stdin); err != nil || string(text) != want {
					t.Errorf("got %.20q (%d bytes), %v", text, len(text), err)
				}
			})
		}
	}
}
