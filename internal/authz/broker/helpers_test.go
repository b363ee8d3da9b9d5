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
	"time"

	"palisade/internal/authz/action"
	"palisade/internal/authz/audit"
	"palisade/internal/socket"
)

// fixture is a server at work.
type fixture struct {
	file           string
	docker, isulad string
	policies       *Policies
	server         *Server
	records        *records
	log            *logged
	client         *http.Client
}

// records keeps what is audited.
type records struct {
	mu  sync.Mutex
	all []audit.Record
}

func (r *records) Add(record audit.Record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if record.Decision.User == "panic" {
		panic("as a mistake would")
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

// logged keeps what is logged.
type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logged) Write(text []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(text)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// serve starts a server with policies. It ends with the test.
func serve(t testing.TB, policies string, options ...func(*Config)) *fixture {
	t.Helper()
	dir := t.TempDir()
	f := &fixture{
		file: filepath.Join(dir, "policies", "policy.json"), docker: filepath.Join(dir, "run/d.sock"), isulad: filepath.Join(dir, "run/i.sock"),
		records: new(records), log: new(logged),
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
	c := Config{Policies: f.policies, Audit: f.records, Log: log}
	for _, option := range options {
		option(&c)
	}
	f.server = New(c)
	for path, engine := range map[string]action.Engine{f.docker: action.Docker, f.isulad: action.Isulad} {
		l, err := socket.Listen(path, SocketMode)
		if err != nil {
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
			return new(net.Dialer).DialContext(ctx, "unix", f.docker)
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

// write makes a text the policy file at once.
func (f *fixture) write(t testing.TB, text string) {
	t.Helper()
	if err := os.WriteFile(f.file+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(f.file+".new", f.file); err != nil {
		t.Fatal(err)
	}
}

// watch follows the file until the test ends.
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

// answer is what the engine reads of one.
type answer struct {
	Allow bool
	Msg   string
	Err   string
}

// post sends a text to a path of Docker's protocol.
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

// askText asks with a text as the request.
func (f *fixture) askText(t testing.TB, text string) answer {
	t.Helper()
	code, reply := f.post(t, "/AuthZPlugin.AuthZReq", strings.NewReader(text))
	var a answer
	if err := json.Unmarshal([]byte(reply), &a); err != nil || code != http.StatusOK || a.Err != "" || a.Allow == (a.Msg != "") {
		t.Fatalf("%.200s: the answer is %d %s", text, code, reply)
	}
	return a
}

// question is what Docker sends.
type question struct {
	User, UserAuthNMethod, RequestMethod string
	RequestURI                           string            `json:"RequestUri"`
	RequestBody                          []byte            `json:",omitempty"`
	RequestHeaders                       map[string]string `json:",omitempty"`
	RequestPeerCertificates              [][]byte          `json:",omitempty"`
}

func (f *fixture) ask(t testing.TB, q question) answer {
	t.Helper()
	text, err := json.Marshal(q)
	if err != nil {
		t.Fatal(err)
	}
	return f.askText(t, string(text))
}

// raw sends bytes to a socket and reads an answer, in the time that each request has.
func raw(t testing.TB, socket string, chunks ...string) (*http.Response, string) {
	t.Helper()
	c, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, chunk := range chunks {
		if _, err := io.WriteString(c, chunk); err != nil {
			t.Fatal(err)
		}
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

// waitFor waits until something is so.
func waitFor(t testing.TB, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("in vain: %s", what)
		}
	}
}
