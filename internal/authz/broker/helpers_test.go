package broker

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"palisade/internal/authz/action"
	"palisade/internal/authz/audit"
	"palisade/internal/linux/socket"
)

// fixture is a running server.
type fixture struct {
	file           string
	docker, isulad string
	policies       *Policies
	server         *Server
	records        *records
	log            *logBuffer
	client         *http.Client
	// pipes stand for the sockets in tests with a fake clock.
	pipes map[string]*pipeListener
}

// pipeListener is a listener for pipes.
type pipeListener struct {
	net.Listener
	conns chan net.Conn
}

func (l *pipeListener) Accept() (net.Conn, error) {
	c, ok := <-l.conns
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}

func (l *pipeListener) Close() error {
	close(l.conns)
	return nil
}

// dial connects to a socket.
func (f *fixture) dial(t testing.TB, path string) net.Conn {
	t.Helper()
	c, err := f.dialContext(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (f *fixture) dialContext(ctx context.Context, path string) (net.Conn, error) {
	if l := f.pipes[path]; l != nil {
		client, server := net.Pipe()
		l.conns <- server
		return client, nil
	}
	return new(net.Dialer).DialContext(ctx, "unix", path)
}

// withClock runs a test with a fake clock, which advances while all goroutines wait. The sockets of
// its fixtures are pipes.
func withClock(t *testing.T, test func(t *testing.T, serve serveFunc)) {
	synctest.Test(t, func(t *testing.T) {
		test(t, func(t testing.TB, policies string, options ...func(*Decider)) *fixture {
			return newFixture(t, true, policies, options...)
		})
	})
}

type serveFunc func(t testing.TB, policies string, options ...func(*Decider)) *fixture

// records is an Auditor that keeps the records.
type records struct {
	mu  sync.Mutex
	all []audit.Record
}

func (r *records) Add(record audit.Record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if record.Decision.User == "panic" {
		panic("a bug")
	}
	r.all = append(r.all, record)
}

func (r *records) last() audit.Record {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.all) == 0 {
		return audit.Record{}
	}
	return r.all[len(r.all)-1]
}

// logBuffer keeps the text of a log.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logBuffer) Write(text []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(text)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// serve starts a server with policies, which stops at the end of the test.
func serve(t testing.TB, policies string, options ...func(*Decider)) *fixture {
	t.Helper()
	return newFixture(t, false, policies, options...)
}

func newFixture(
	t testing.TB, hasPipes bool, policies string, options ...func(*Decider),
) *fixture {
	t.Helper()
	dir := t.TempDir()
	f := &fixture{
		file:    filepath.Join(dir, "policies", "policy.json"),
		docker:  filepath.Join(dir, "run/d.sock"),
		isulad:  filepath.Join(dir, "run/i.sock"),
		records: new(records),
		log:     new(logBuffer),
		pipes:   make(map[string]*pipeListener),
	}
	if err := os.Mkdir(filepath.Dir(f.file), 0o755); err != nil {
		t.Fatal(err)
	}
	f.write(t, policies)
	log := slog.New(slog.NewTextHandler(f.log, nil))
	var err error
	if f.policies, err = OpenPolicies(f.file, log); err != nil {
		t.Fatal(err)
	}
	f.policies.interval = 5 * time.Millisecond
	c := Decider{Policies: f.policies, Audit: f.records, Log: log}
	for _, option := range options {
		option(&c)
	}
	f.server = New(c)
	for path, engine := range map[string]action.Engine{
		f.docker: action.Docker, f.isulad: action.Isulad,
	} {
		var l net.Listener
		if hasPipes {
			f.pipes[path] = &pipeListener{conns: make(chan net.Conn)}
			l = f.pipes[path]
		} else if l, err = socket.Listen(path, SocketMode); err != nil {
			t.Fatal(err)
		}
		go func() {
			if err := f.server.Serve(l, engine); err != nil {
				t.Error(err)
			}
		}()
	}
	f.client = &http.Client{Timeout: time.Minute, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return f.dialContext(ctx, f.docker)
		},
		MaxIdleConnsPerHost: 16,
	}}
	t.Cleanup(func() {
		f.client.CloseIdleConnections()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := f.server.Shutdown(ctx); err != nil {
			t.Error(err)
		}
	})
	return f
}

// write replaces the policy file.
func (f *fixture) write(t testing.TB, text string) {
	t.Helper()
	if err := os.WriteFile(f.file+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(f.file+".new", f.file); err != nil {
		t.Fatal(err)
	}
}

// watch watches the policy file until the end of the test.
func (f *fixture) watch(t testing.TB) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.policies.Watch(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
}

// answer is an answer to Docker.
type answer struct {
	Allow bool
	Msg   string
	Err   string
}

// post sends a body to a path of Docker's socket.
func (f *fixture) post(t testing.TB, path string, body io.Reader) (code int, text string) {
	t.Helper()
	response, err := f.client.Post("http://plugin"+path, "", body)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	all, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(all)
}

// askText sends the text of an authorization request.
func (f *fixture) askText(t testing.TB, text string) answer {
	t.Helper()
	code, reply := f.post(t, "/AuthZPlugin.AuthZReq", strings.NewReader(text))
	var a answer
	err := json.Unmarshal([]byte(reply), &a)
	if err != nil || code != http.StatusOK || a.Err != "" || a.Allow == (a.Msg != "") {
		t.Fatalf("%.200s: the answer is %d %s", text, code, reply)
	}
	return a
}

// authzRequest is the body of AuthZReq.
type authzRequest struct {
	User, UserAuthNMethod, RequestMethod string
	RequestURI                           string            `json:"RequestUri"`
	RequestBody                          []byte            `json:",omitempty"`
	RequestHeaders                       map[string]string `json:",omitempty"`
	RequestPeerCertificates              [][]byte          `json:",omitempty"`
}

// userRequest returns the request of a user for a line such as "GET /info".
func userRequest(user, line, body string) authzRequest {
	method, uri, _ := strings.Cut(line, " ")
	return authzRequest{
		User: user, RequestMethod: method, RequestURI: uri, RequestBody: []byte(body),
	}
}

func (f *fixture) ask(t testing.TB, r authzRequest) answer {
	t.Helper()
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	return f.askText(t, string(text))
}

// raw sends text to a socket and returns the answer.
func (f *fixture) raw(t testing.TB, socket, text string) (*http.Response, string) {
	t.Helper()
	c := f.dial(t, socket)
	defer c.Close()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	return readAnswer(t, c)
}

func readAnswer(t testing.TB, c net.Conn) (*http.Response, string) {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, string(text)
}

// waitFor waits until a condition is true.
func waitFor(t testing.TB, what string, condition func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for ; !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("timed out waiting for %s", what)
		}
	}
}
