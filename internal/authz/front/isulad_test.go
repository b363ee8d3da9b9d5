package front

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"palisade/internal/authz/action"
	"palisade/internal/authz/audit"
	"palisade/internal/authz/broker"
	"palisade/internal/authz/policy"
)

// auditor is a broker.Auditor that keeps the records.
type auditor struct {
	mu  sync.Mutex
	all []audit.Record
}

func (a *auditor) Add(r audit.Record) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.all = append(a.all, r)
}

func (a *auditor) last() audit.Record {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.all[len(a.all)-1]
}

// isuladClients makes a *Conn of each connection, whose client is who.
type isuladClients struct {
	net.Listener
	who *atomic.Pointer[Client]
}

func (l isuladClients) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &Conn{Conn: c, client: func(context.Context) (Client, error) {
		if who := l.who.Load(); who != nil {
			return *who, nil
		}
		return Client{}, errors.New("certificate revoked")
	}}, nil
}

// isuladFixture is a front between a client and a server that behaves like iSulad's services.
type isuladFixture struct {
	front    *Isulad
	who      atomic.Pointer[Client]
	records  auditor
	upstream *http.Server
	client   *http.Client
	got      chan *http.Request // the calls that arrive at iSulad
	// socket is the front's, policies the file with the policies.
	socket, policies string
}

// frame returns a gRPC message.
func frame(text string) []byte {
	header := binary.BigEndian.AppendUint32([]byte{0}, uint32(len(text)))
	return append(header, text...)
}

// readFrame returns the content of the next gRPC message.
func readFrame(t testing.TB, r io.Reader) string {
	t.Helper()
	header := make([]byte, 5)
	if _, err := io.ReadFull(r, header); err != nil {
		t.Fatalf("read a message: %v", err)
	}
	text := make([]byte, binary.BigEndian.Uint32(header[1:]))
	if _, err := io.ReadFull(r, text); err != nil {
		t.Fatalf("read a message: %v", err)
	}
	return string(text)
}

// serveUpstream answers as iSulad: Create and unknown methods with a status in the headers, others
// with what they read, and a status in trailers.
func (f *isuladFixture) serveUpstream(w http.ResponseWriter, r *http.Request) {
	f.got <- r
	h := w.Header()
	h.Set("Content-Type", "application/grpc")
	switch {
	case strings.HasSuffix(r.URL.Path, "/Version"):
		h.Set("Grpc-Status", "12")
		h.Set("Grpc-Message", "not there")
		return
	case strings.HasSuffix(r.URL.Path, "/Attach"):
		h.Set("X-Initial", "1")
		http.NewResponseController(w).Flush() // before anything is read
	}
	buffer := make([]byte, 64<<10)
	for {
		n, err := r.Body.Read(buffer)
		w.Write(buffer[:n])
		http.NewResponseController(w).Flush()
		if err != nil {
			break
		}
	}
	h.Set(http.TrailerPrefix+"Grpc-Status", "0")
	h.Set(http.TrailerPrefix+"X-Exit-Code", "3")
}

func newIsuladFixture(
	t testing.TB, policies string, options ...func(*broker.Decider),
) *isuladFixture {
	t.Helper()
	dir := t.TempDir()
	f := &isuladFixture{got: make(chan *http.Request, 100), socket: filepath.Join(dir, "front.sock")}
	f.who.Store(&Client{policy.Identity{User: "alice"}, "TLS"})
	upstream := filepath.Join(dir, "isulad.sock")
	f.policies = filepath.Join(dir, "policy.json")
	if err := os.WriteFile(f.policies, []byte(policies), 0o600); err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	loaded, err := broker.OpenPolicies(f.policies, log)
	if err != nil {
		t.Fatal(err)
	}
	d := broker.Decider{Policies: loaded, Audit: &f.records, Log: log}
	for _, option := range options {
		option(&d)
	}
	f.upstream = &http.Server{Handler: http.HandlerFunc(f.serveUpstream), Protocols: onlyHTTP2()}
	f.front = NewIsulad(Config{Decider: d, Engine: action.Isulad, Upstream: upstream})
	f.front.interval = 10 * time.Millisecond
	for socket, serve := range map[string]func(net.Listener) error{
		upstream: f.upstream.Serve,
		f.socket: func(l net.Listener) error { return f.front.Serve(isuladClients{l, &f.who}) },
	} {
		l, err := net.Listen("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		go serve(l)
	}
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", f.socket)
		},
		Protocols: onlyHTTP2(), DisableCompression: true,
	}
	f.client = &http.Client{Transport: transport}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		f.front.Shutdown(ctx)
		f.upstream.Close()
	})
	return f
}

// open begins a call. The method is that of ContainerService, or a full one.
func (f *isuladFixture) open(
	t testing.TB, method string, body io.Reader, metadata ...string,
) *http.Response {
	t.Helper()
	if !strings.HasPrefix(method, "/") {
		method = "/containers.ContainerService/" + method
	}
	r, err := http.NewRequestWithContext(t.Context(), "POST", "http://x"+method, body)
	if err != nil {
		t.Fatal(err)
	}
	r.ContentLength = -1
	r.Header.Set("Content-Type", "application/grpc")
	r.Header.Set("TE", "trailers")
	for i := 0; i < len(metadata); i += 2 {
		if metadata[i] == "content-type" {
			r.Header.Del(metadata[i])
		}
		r.Header.Add(metadata[i], metadata[i+1])
	}
	response, err := f.client.Do(r)
	if err != nil {
		t.Fatalf("%s: %v", method, err)
	}
	return response
}

// status reads the rest of a response, and returns the body and the status, as "code message".
func status(t testing.TB, r *http.Response) (body, state string) {
	t.Helper()
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatalf("read the response: %v", err)
	}
	h := r.Trailer
	if code := r.Header.Get("Grpc-Status"); code != "" {
		h = r.Header
	}
	return string(text), strings.TrimSpace(h.Get("Grpc-Status") + " " + h.Get("Grpc-Message"))
}

func (f *isuladFixture) call(
	t testing.TB, method string, body []byte, metadata ...string,
) (text, state string) {
	t.Helper()
	return status(t, f.open(t, method, bytes.NewReader(body), metadata...))
}

const allForAlice = `{"name":"p","users":["alice"],"actions":[""]}`

func TestIsuladForwards(t *testing.T) {
	f := newIsuladFixture(t, allForAlice)
	body, state := f.call(t, "List", frame("hello"), "username", "root", "Username", "admin",
		"tls_mode", "0", "x-other", "kept", "x-bin", "AAE=")
	if body != string(frame("hello")) || state != "0" {
		t.Errorf("%q, %q", body, state)
	}
	r := <-f.got
	if r.URL.Path != "/containers.ContainerService/List" || r.Host != "localhost" {
		t.Errorf("iSulad gets %q at %q", r.URL, r.Host)
	}
	for key, want := range map[string]string{
		"Username": "alice", "Tls_mode": "1", "X-Other": "kept", "X-Bin": "AAE=", "Te": "trailers",
		"User-Agent": "Go-http-client/2.0", "Accept-Encoding": "", "X-Forwarded-For": "",
	} {
		if got := strings.Join(r.Header[key], ","); got != want {
			t.Errorf("iSulad gets %s: %q, want %q", key, got, want)
		}
	}
	record := f.records.last()
	if record.Method != r.URL.Path || record.Decision.User != "alice" || record.AuthMethod != "TLS" ||
		record.Engine != "isulad" || record.Decision.Action.Name != "container_list" {
		t.Errorf("audited as %+v", record)
	}
	// A status in the headers, which must not be followed by a body.
	response := f.open(t, "Version", bytes.NewReader(frame("")))
	_, state = status(t, response)
	if state != "12 not there" || response.Header.Get("Grpc-Status") == "" {
		t.Errorf("%q, %v", state, response.Header)
	}
	f.who.Store(&Client{policy.Identity{UnixUser: "jürgen%"}, "unix"})
	_, state = f.call(t, "List", frame(""))
	if !strings.HasPrefix(state, `7 user "unix:j%C3%BCrgen%25"`) {
		t.Errorf("an unknown user: %q", state)
	}
}

func TestIsuladDenies(t *testing.T) {
	f := newIsuladFixture(t, `{"name":"p","users":["alice"],"actions":["container_list"],"exact":true}
{"users":["bob"],"actions":["container","cri"],"deny":["privileged"],"message":"ask ops"}`)
	create := func(host string) []byte {
		m := []byte{1<<3 | 2, 1, 'x', 5<<3 | 2, byte(len(host))}
		m = append(append(m, host...), 6<<3|2, 2, '{', '}')
		return frame(string(m))
	}
	plain := create(`{}`)
	compressed := bytes.Clone(plain)
	compressed[0] = 1
	exec := "isulad-remote-exec"
	for _, c := range []struct {
		user, method string
		body         []byte
		metadata     []string
		want         string
	}{
		{"alice", "List", frame(""), nil, "0"},
		{"alice", "Stop", frame(""), nil, `7 policy "p" does not grant "container_stop" to user`},
		{"alice", "Nothing", frame(""), nil, `7 policy "p" does not grant an unknown request`},
		{"alice", "/List?x=1", nil, nil, "is not a gRPC call"},
		{"alice", "/containers.ContainerService/%4cist", nil, nil, "is not a gRPC call"},
		{"alice", "/x//y", nil, nil, "is not a gRPC call"},
		{"alice", "List", nil, []string{"content-type", "text/html"}, `is "text/html"`},
		{"eve", "List", frame(""), nil, `7 user "eve" is listed in no policy`},
		{"bob", "Create", plain, nil, "0"},
		{"bob", "Create", create(`{"Privileged":true}`), nil, "7 ask ops"},
		{"bob", "Create", append(plain, plain...), nil, "7 the call has more than one message"},
		{"bob", "Create", plain[:8], nil, "7 read the message"},
		{"bob", "Create", nil, nil, "7 read the message"},
		{"bob", "Create", compressed, nil, "7 a compressed message cannot be examined"},
		{"bob", "Create", []byte{0, 255, 255, 255, 255}, nil, "7 the message has 4294967295 bytes"},
		{"bob", "RemoteExec", nil, nil, "7 the metadata isulad-remote-exec must be given once"},
		{"bob", "RemoteExec", nil, []string{exec, "{}", exec, "{}"}, "once"},
		{"bob", "RemoteExec", nil, []string{exec, `{"stdout":"/etc/x"}`}, "7 ask ops"},
		{"bob", "RemoteExec", frame("x"), []string{exec, "{}"}, "0"},
		{"bob", "/runtime.v1.RuntimeService/RunPodSandbox", frame(""), nil, "7 ask ops"},
		{"bob", "/runtime.v1.RuntimeService/Exec", frame(""), nil, "0"},
	} {
		f.who.Store(&Client{policy.Identity{User: c.user}, "TLS"})
		_, state := f.call(t, c.method, c.body, c.metadata...)
		if !strings.Contains(state, c.want) || c.want == "0" != (state == "0") {
			t.Errorf("%s of %s: %q, want %q", c.method, c.user, state, c.want)
		}
		if forwarded := len(f.got) > 0; forwarded != (state == "0") {
			t.Errorf("%s of %s is forwarded: %v", c.method, c.user, forwarded)
		}
		for len(f.got) > 0 {
			<-f.got
		}
	}
	f.who.Store(nil)
	_, state := f.call(t, "List", frame(""))
	if state != "7 identify the client: certificate revoked" {
		t.Errorf("an unknown client: %q", state)
	}
}

func TestIsuladDryRun(t *testing.T) {
	f := newIsuladFixture(t, `{"users":["bob"],"actions":[""]}`,
		func(d *broker.Decider) { d.DryRun = true })
	if _, state := f.call(t, "List", frame("")); state != "0" || f.records.last().Decision.Allow {
		t.Errorf("%q, %+v", state, f.records.last())
	}
	if _, state := f.call(t, "Create", nil); !strings.HasPrefix(state, "7") {
		t.Errorf("a malformed call: %q", state)
	}
}

// TestIsuladStream makes sure that both directions of a call are independent.
func TestIsuladStream(t *testing.T) {
	f := newIsuladFixture(t, allForAlice)
	in, out := io.Pipe()
	response := f.open(t, "Attach", in) // returns without any message
	if response.Header.Get("X-Initial") != "1" {
		t.Errorf("%v", response.Header)
	}
	for i := range 3 {
		text := fmt.Sprint("message ", i)
		if _, err := out.Write(frame(text)); err != nil {
			t.Fatal(err)
		}
		if got := readFrame(t, response.Body); got != text {
			t.Errorf("%q", got)
		}
	}
	out.Close()
	if _, state := status(t, response); state != "0" || response.Trailer.Get("X-Exit-Code") != "3" {
		t.Errorf("%q, %v", state, response.Trailer)
	}
}

// TestIsuladFlow makes sure that a large stream arrives, and that a client which does not read
// stops no other call.
func TestIsuladFlow(t *testing.T) {
	f := newIsuladFixture(t, allForAlice)
	const size = 16 << 20
	stuck := f.open(t, "CopyToContainer", io.LimitReader(zeros{}, size))
	defer stuck.Body.Close()
	in := io.LimitReader(zeros{}, size)
	response := f.open(t, "CopyToContainer", in)
	n, err := io.Copy(io.Discard, response.Body)
	if n != size || err != nil || response.Trailer.Get("Grpc-Status") != "0" {
		t.Errorf("%d bytes, %v, %v", n, err, response.Trailer)
	}
	if n, err := io.Copy(io.Discard, stuck.Body); n != size || err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
}

func TestIsuladEnds(t *testing.T) {
	open := func(t *testing.T) (*isuladFixture, *http.Response, *http.Request) {
		f := newIsuladFixture(t, allForAlice)
		in, _ := io.Pipe()
		t.Cleanup(func() { in.Close() })
		response := f.open(t, "Attach", in)
		return f, response, <-f.got
	}
	t.Run("iSulad is killed", func(t *testing.T) {
		f, response, _ := open(t)
		f.upstream.Close()
		if _, state := status(t, response); !strings.HasPrefix(state, "14 authz-broker front: ") {
			t.Errorf("%q", state)
		}
		_, state := f.call(t, "List", frame(""))
		if !strings.HasPrefix(state, "14 authz-broker front: ") {
			t.Errorf("without iSulad: %q", state)
		}
		if n := f.front.Failures(); n != 2 {
			t.Errorf("%d failures", n)
		}
	})
	t.Run("the client is revoked", func(t *testing.T) {
		f, response, upstream := open(t)
		f.who.Store(nil)
		if _, state := status(t, response); state != "7 identify the client: certificate revoked" {
			t.Errorf("%q", state)
		}
		<-upstream.Context().Done()
	})
	t.Run("the policies change", func(t *testing.T) {
		f, response, upstream := open(t)
		if err := os.WriteFile(f.policies, []byte(`{"users":["bob"],"actions":[""]}`), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := f.front.Policies.Reload(); err != nil {
			t.Fatal(err)
		}
		if _, state := status(t, response); state != `7 user "alice" is listed in no policy` {
			t.Errorf("%q", state)
		}
		<-upstream.Context().Done()
	})
	t.Run("the client leaves", func(t *testing.T) {
		_, response, upstream := open(t)
		response.Body.Close()
		<-upstream.Context().Done()
	})
	t.Run("the front stops", func(t *testing.T) {
		f, response, upstream := open(t)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if err := f.front.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		if _, err := io.ReadAll(response.Body); err == nil {
			t.Error("the call goes on")
		}
		<-upstream.Context().Done()
	})
}

// TestIsuladHTTP1 makes sure that only HTTP/2 is served.
func TestIsuladHTTP1(t *testing.T) {
	f := newIsuladFixture(t, allForAlice)
	c, err := net.Dial("unix", f.socket)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprint(c, "POST /containers.ContainerService/List HTTP/1.1\r\nHost: x\r\n\r\n")
	if text, _ := io.ReadAll(c); len(text) > 0 || len(f.records.all) > 0 {
		t.Errorf("answered with %q", text)
	}
}

// BenchmarkIsulad measures a unary call through the front, and without it.
func BenchmarkIsulad(b *testing.B) {
	f := newIsuladFixture(b, allForAlice)
	go func() {
		for range f.got {
		}
	}()
	defer close(f.got)
	call := func(b *testing.B) {
		for b.Loop() {
			if _, state := f.call(b, "List", frame("hello")); state != "0" {
				b.Fatal(state)
			}
		}
	}
	b.Run("front", call)
	f.socket = f.front.Upstream
	f.client.CloseIdleConnections()
	b.Run("direct", call)
}

// FuzzReadUnary makes sure that only a whole and single message is read.
func FuzzReadUnary(f *testing.F) {
	f.Add(frame("text"))
	f.Add(append(frame("a"), frame("b")...))
	f.Add([]byte{0, 255, 255, 255, 255, 1})
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := readUnary(bytes.NewReader(text))
		if err == nil && (!bytes.Equal(got, text) || !bytes.Equal(got, frame(string(text[5:])))) {
			t.Errorf("%q is read as %q", text, got)
		}
	})
}
