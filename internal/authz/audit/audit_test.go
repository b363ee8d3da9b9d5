package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"palisade/internal/authz/action"
	"palisade/internal/authz/policy"
)

func TestWithoutSecrets(t *testing.T) {
	for uri, want := range map[string]string{
		"/info":                                 "/info",
		"":                                      "",
		"/containers/json?all=1&filters=%7B%7D": "/containers/json?all=1&filters=%7B%7D",
		"/build?t=x&buildargs=%7B%22PW%22%3A1%7D&q=1": "/build?t=x&buildargs=...&q=1",
		"/build?buildargs=a;labels=b;t=c":             "/build?buildargs=...;labels=...;t=c",
		"/build?t=c;buildargs=a":                      "/build?t=c;buildargs=...",
		"/build?%62uildargs=a":                        "/build?%62uildargs=...",
		"/build?%zz=a":                                "/build?%zz=...",
		"/x?token":                                    "/x?...",
		"/x?all":                                      "/x?all",
		"/x?=secret":                                  "/x?=...",
		"/x?all=1&&":                                  "/x?all=1&...",
		"/images/create?fromSrc=https%3A%2F%2Fu%3Ap%40host" +
			"%2Fa%3Ftoken%3D1&tag=1": "/images/create?fromSrc=https%3A%2F%2F...%40host%2Fa&tag=1",
		"/images/create?fromSrc=-":                         "/images/create?fromSrc=-",
		"/build?remote=git@host:a/b.git%23main":            "/build?remote=...%40host%3Aa%2Fb.git",
		"http://user:password@host/info":                   "http://...@host/info",
		"http://user:pass@word@host/info?fromImage=x":      "http://...@host/info?fromImage=x",
		"/commit?changes=ENV%20A%3Dsecret&author=a&repo=x": "/commit?changes=...&author=...&repo=x",
		"/x?all=a%3Fb&unlockKey=SWMKEY-1-x":                "/x?all=a%3Fb&unlockKey=...",
	} {
		if got := redactURI(uri); got != want {
			t.Errorf("%s is redacted as %s, want %s", uri, got, want)
		}
	}
}

// memorySink is a sink that can block or fail.
type memorySink struct {
	mu     sync.Mutex
	text   bytes.Buffer
	err    error
	hang   chan struct{} // Write waits until it is closed
	hung   chan struct{} // closed when Write waits
	hangs  sync.Once
	closed bool
}

func (m *memorySink) Write(lines []byte) (int, error) {
	if m.hang != nil {
		m.hangs.Do(func() { close(m.hung) })
		<-m.hang
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.text.Write(lines)
	return len(lines), m.err
}
func (m *memorySink) Reopen() error { return nil }
func (m *memorySink) Close() error  { m.closed = true; return nil }

func record(uri string) Record {
	alice := policy.Identity{User: "alice"}
	return Record{
		Time:       time.Date(2020, 1, 2, 3, 4, 5, 678901000, time.UTC),
		Engine:     action.Docker,
		AuthMethod: "TLS",
		Method:     "GET",
		URI:        uri,
		Decision:   new(policy.Set).Decide(alice, policy.DockerRequest("GET", uri, nil)),
		Latency:    12345 * time.Nanosecond,
	}
}

func TestLines(t *testing.T) {
	sink := new(memorySink)
	l := New(sink, slog.New(slog.DiscardHandler))
	l.Add(record("/info?x=<secret>\n"))
	r := record("/" + strings.Repeat("x", 1<<20))
	r.Decision.User = strings.Repeat("\xff", 1000)
	l.Add(r)
	if err := l.Close(10 * time.Second); err != nil || !sink.closed {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(sink.text.String(), "\n")
	want := `{"time":"2020-01-02T03:04:05.678901Z","engine":"docker","user":"alice",` +
		`"auth_method":"TLS","method":"GET","uri":"/info?x=...","action":"docker_info",` +
		`"policy":"","line":0,"allow":false,` +
		`"reason":"user \"alice\" is listed in no policy","latency_us":12}` + "\n"
	if len(lines) != 3 || lines[0] != want {
		t.Fatalf("got %q, want %q", lines[0], want)
	}
	if !json.Valid([]byte(lines[1])) || len(lines[1]) > maxURI+10*maxName {
		t.Errorf("a long record takes %d bytes: %.100s", len(lines[1]), lines[1])
	}
}

// TestTerminal audits names with control characters and bidirectional marks.
func TestTerminal(t *testing.T) {
	const hostile = "\x1b[2J\u009b31m\x7f\u200e\u200f\u202a\u202e\u2066\u2069\u2028\u2029" +
		"\u061c\u00ad\ufeff\U000e0001e"
	sink := new(memorySink)
	l := New(sink, slog.New(slog.DiscardHandler))
	r := record("/" + hostile)
	r.AuthMethod, r.Method, r.Problem = hostile, hostile, hostile
	r.Decision.User, r.Decision.Action = hostile, action.Unknown(hostile)
	r.Decision.Policy = &policy.Policy{Name: hostile}
	l.Add(r)
	if err := l.Close(10 * time.Second); err != nil {
		t.Fatal(err)
	}
	text := sink.text.String()
	for _, c := range strings.TrimSuffix(text, "\n") {
		if !strconv.IsPrint(c) {
			t.Errorf("the audit has %q: %q", c, text)
		}
	}
	var got line
	if err := json.Unmarshal([]byte(text), &got); err != nil {
		t.Fatal(err)
	}
	uri := strings.TrimPrefix(got.URI, "/")
	for _, value := range []string{
		got.User, got.AuthMethod, got.Method, uri, got.Action, got.Policy, got.Reason,
	} {
		if value != hostile {
			t.Errorf("%q is read as %q", hostile, value)
		}
	}
}

// TestStuckSink checks that Add does not wait for a sink that blocks, and that lost records are
// counted and logged.
func TestStuckSink(t *testing.T) {
	sink := &memorySink{hang: make(chan struct{}), hung: make(chan struct{})}
	var logged bytes.Buffer
	l := New(sink, slog.New(slog.NewTextHandler(&logged, nil)))
	started := time.Now()
	for range 3 * queueSize {
		l.Add(record("/info"))
	}
	if took := time.Since(started); took > 5*time.Second {
		t.Errorf("Add blocked for %v", took)
	}
	<-sink.hung
	if err := l.Reopen(time.Millisecond); !errors.Is(err, errTimeout) {
		t.Errorf("reopened: %v", err)
	}
	close(sink.hang)
	if err := l.Close(30 * time.Second); err != nil {
		t.Fatal(err)
	}
	lines := strings.Count(sink.text.String(), "\n")
	if dropped := int(l.Dropped()); dropped == 0 || lines+dropped != 3*queueSize {
		t.Errorf("%d lines and %d lost of %d", lines, dropped, 3*queueSize)
	}
	if !strings.Contains(logged.String(), "decisions are missing in the audit log") {
		t.Errorf("logged: %s", &logged)
	}
}

func TestFailingSink(t *testing.T) {
	sink := &memorySink{err: errors.New("no space")}
	var logged bytes.Buffer
	l := New(sink, slog.New(slog.NewTextHandler(&logged, nil)))
	l.Add(record("/info"))
	if err := l.Close(10 * time.Second); err != nil || l.Dropped() != 1 {
		t.Errorf("%v, %d lost", err, l.Dropped())
	}
	if !strings.Contains(logged.String(), "no space") {
		t.Errorf("logged: %s", &logged)
	}
}

func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	sink, err := Open(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	l := New(sink, slog.New(slog.DiscardHandler))
	// flush waits for the records that were added: the writer does not reopen within a write.
	flush := func() {
		t.Helper()
		deadline := time.Now().Add(10 * time.Second)
		for len(l.queue) > 0 && time.Now().Before(deadline) {
			time.Sleep(time.Millisecond)
		}
		if err := l.Reopen(10 * time.Second); err != nil {
			t.Fatal(err)
		}
	}
	l.Add(record("/info"))
	flush()
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	flush()
	l.Add(record("/version"))
	if err := l.Close(10 * time.Second); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{path + ".1": "docker_info", path: "docker_version"} {
		text, err := os.ReadFile(name)
		if err != nil || strings.Count(string(text), "\n") != 1 ||
			!strings.Contains(string(text), want) {
			t.Errorf("%s has %q, %v; want %s", name, text, err, want)
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("%v, %v", info, err)
	}
	if _, err := Open(filepath.Join(path, "x"), nil); err == nil {
		t.Error("a path below a file was opened")
	}
}
