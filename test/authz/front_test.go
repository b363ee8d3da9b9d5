//go:build integration

package authz

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"palisade/test/engine"
)

// front is a running authz-broker front, with a listener for certificates, one for unix users and
// containers, and sockets with fixed users.
type front struct {
	*broker
	kind, upstream string
	// certs has the certificates of alice, bob, mallory, admin, and of carol, who is in the group ops.
	certs string
	// tcp is the address of the listener with TLS, and unix the path of the socket.
	tcp, unix, crl string
	// users are the users with a socket each.
	users []string
}

// newFront prepares a front, whose files all users can reach.
func newFront(t *testing.T, kind, upstream, policies string, users ...string) *front {
	t.Helper()
	dir, err := os.MkdirTemp("/run", "front-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	f := &front{
		broker: &broker{
			dir: dir, policy: filepath.Join(dir, "policy.json"), audit: filepath.Join(dir, "audit"),
			log: new(output),
		},
		kind: kind, upstream: upstream, users: users,
		certs: filepath.Join(dir, "certs"), tcp: engine.FreePort(t), unix: filepath.Join(dir, "front.sock"),
	}
	for _, args := range [][]string{
		{"--server", "localhost", "--server", "127.0.0.1", "--client", "alice", "--client", "bob",
			"--client", "mallory", "--client", "admin"},
		{"--client", "carol", "--group", "ops"},
	} {
		args = append([]string{"certs", "--dir", f.certs}, args...)
		if out, err := exec.Command(shared.broker, args...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	f.write(t, policies)
	return f
}

// startFront starts a front.
func startFront(t *testing.T, kind, upstream, policies string, users ...string) *front {
	t.Helper()
	f := newFront(t, kind, upstream, policies, users...)
	f.begin(t, nil)
	return f
}

// socketOf returns the path of the socket that stands for a user.
func (f *front) socketOf(user string) string { return filepath.Join(f.dir, user+".sock") }

// options returns the arguments of the program.
func (f *front) options(more ...string) []string {
	pem := func(name string) string { return filepath.Join(f.certs, name) }
	tcp := fmt.Sprintf("tcp://%s,cert=%s,key=%s,ca=%s", f.tcp, pem("server-cert.pem"),
		pem("server-key.pem"), pem("ca.pem"))
	if f.crl != "" {
		tcp += ",crl=" + f.crl
	}
	args := []string{"--policy-file", f.policy, "--audit", f.audit, "front", "--engine", f.kind,
		"--upstream", "unix://" + f.upstream, "--listen", tcp,
		"--listen", "unix://" + f.unix + ",mode=0666"}
	for _, user := range f.users {
		args = append(args, "--listen", "unix://"+f.socketOf(user)+",mode=0666,user="+user)
	}
	return append(args, more...)
}

// begin starts the program, by cmd unless it is nil, and waits until it listens.
func (f *front) begin(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if cmd == nil {
		cmd = exec.Command(shared.broker, f.options()...)
	}
	f.launch(t, cmd)
	engine.WaitFor(t, "the front to listen", func() bool {
		select {
		case err := <-f.done:
			t.Fatalf("the front exited: %v: %s", err, f.log)
		default:
		}
		for _, user := range f.users {
			if !canDial(f.socketOf(user)) {
				return false
			}
		}
		return canDial(f.unix)
	})
}

// client returns a client with the certificate of user.
func (f *front) client(t *testing.T, user string) *http.Client {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: f.tlsConfig(t, user)}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: time.Minute}
}

func (f *front) tlsConfig(t *testing.T, user string) *tls.Config {
	t.Helper()
	dir := filepath.Join(f.certs, user)
	own, err := tls.LoadX509KeyPair(filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	return &tls.Config{Certificates: []tls.Certificate{own}, RootCAs: roots, ServerName: "localhost"}
}

// get sends a GET request, and returns the status code and the body.
func (f *front) get(t *testing.T, client *http.Client, path string) (code int, text string) {
	t.Helper()
	response, err := client.Get("https://" + f.tcp + path)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

// fakeEngine is an HTTP server at a unix socket that records the requests it gets.
type fakeEngine struct {
	socket string
	server *http.Server

	mu   sync.Mutex
	seen []fakeRequest
	raw  bytes.Buffer
	// containers are the names by id.
	containers map[string]string
}

type fakeRequest struct {
	line, body string
	header     http.Header
}

// startFakeEngine starts an engine that is stopped after the test.
func startFakeEngine(t *testing.T) *fakeEngine {
	t.Helper()
	dir, err := os.MkdirTemp("/run", "engine-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	e := &fakeEngine{
		socket: filepath.Join(dir, "engine.sock"), containers: make(map[string]string),
	}
	e.start(t)
	t.Cleanup(func() { e.server.Close() })
	return e
}

func (e *fakeEngine) start(t *testing.T) {
	t.Helper()
	os.Remove(e.socket)
	l, err := net.Listen("unix", e.socket)
	if err != nil {
		t.Fatal(err)
	}
	e.server = &http.Server{Handler: e}
	go e.server.Serve(recordingListener{l, e})
}

// recordingListener records all that is received.
type recordingListener struct {
	net.Listener
	*fakeEngine
}

func (l recordingListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return recordingConn{c.(*net.UnixConn), l.fakeEngine}, nil
}

type recordingConn struct {
	*net.UnixConn
	*fakeEngine
}

func (c recordingConn) Read(p []byte) (int, error) {
	n, err := c.UnixConn.Read(p)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.raw.Len() < 8<<20 {
		c.raw.Write(p[:n])
	}
	return n, err
}

// take returns the requests since the last call, without those of the front itself, and the raw
// text.
func (e *fakeEngine) take() (all []fakeRequest, raw string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	all, raw = e.seen, e.raw.String()
	e.seen = nil
	e.raw.Reset()
	return all, raw
}

// largeBody is the size of the answer to /images/large/get.
const largeBody = 64 << 20

// ServeHTTP implements http.Handler.
func (e *fakeEngine) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := r.URL.Path
	if id, ok := strings.CutPrefix(path, "/containers/"); ok && strings.HasSuffix(id, "/json") {
		id = strings.TrimSuffix(id, "/json")
		e.mu.Lock()
		name := e.containers[id]
		e.mu.Unlock()
		if name != "" {
			fmt.Fprintf(w, `{"Id":%q,"Name":"/%s","Config":{"Labels":{"role":"ci"}}}`, id, name)
			return
		}
	}
	if strings.HasSuffix(path, "/attach") {
		e.record(r, "")
		e.attach(w, r)
		return
	}
	body, _ := io.ReadAll(r.Body)
	e.record(r, string(body))
	c := http.NewResponseController(w)
	switch {
	case path == "/events":
		io.WriteString(w, "{}\n")
		c.Flush()
		<-r.Context().Done()
	case path == "/images/large/get":
		block := make([]byte, 1<<20)
		for range largeBody / len(block) {
			if _, err := w.Write(block); err != nil {
				return
			}
		}
	case path == "/images/broken/get":
		if r.URL.Query().Has("length") {
			w.Header().Set("Content-Length", "1000000")
		}
		w.Write(make([]byte, 5000))
		c.Flush()
		panic(http.ErrAbortHandler)
	default:
		io.WriteString(w, "[]")
	}
}

func (e *fakeEngine) record(r *http.Request, body string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.seen = append(e.seen, fakeRequest{r.Method + " " + r.RequestURI, body, r.Header.Clone()})
}

// attach reads all of the client's bytes, and then answers with their number. With ?first it closes
// its side before it reads.
func (e *fakeEngine) attach(w http.ResponseWriter, r *http.Request) {
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	head := "HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\n"
	if r.Header.Get("Upgrade") != "" {
		head = "HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\n" +
			"Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
	}
	io.WriteString(conn, head)
	if r.URL.Query().Has("first") {
		io.WriteString(conn, "bye")
		conn.(recordingConn).CloseWrite()
	}
	n, _ := io.Copy(io.Discard, buffered)
	e.mu.Lock()
	e.seen = append(e.seen, fakeRequest{line: fmt.Sprintf("received %d bytes", n)})
	e.mu.Unlock()
	if !r.URL.Query().Has("first") {
		fmt.Fprintf(conn, "received %d bytes", n)
	}
}

// talk sends raw bytes to a unix socket, and returns what comes back until the connection ends, or
// for a while.
func talk(t *testing.T, socket, text string, while time.Duration) string {
	t.Helper()
	c, err := net.Dial("unix", socket)
	if err != nil {
		t.Error(err)
		return ""
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(while))
	io.WriteString(c, text) // the front may close its side at the first bytes
	answer, _ := io.ReadAll(c)
	return string(answer)
}

// oneRequest sends a request on a new connection, and returns the status code and the body.
func oneRequest(network, address, request string) (code int, text string, err error) {
	c, err := net.Dial(network, address)
	if err != nil {
		return 0, "", err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := io.WriteString(c, request); err != nil {
		return 0, "", err
	}
	return readAnswer(bufio.NewReader(c))
}

func readAnswer(r *bufio.Reader) (code int, text string, err error) {
	response, err := http.ReadResponse(r, nil)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return response.StatusCode, string(body), err
}

const ping = "GET /_ping HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\r\n"

// TestFrontUsage checks the messages for wrong options.
func TestFrontUsage(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want string
	}{
		{nil, "--engine"},
		{[]string{"--engine", "lxd"}, `"lxd"`},
		{[]string{"--engine", "docker"}, "--listen"},
		{[]string{"--engine", "docker", "--listen", "tcp://0.0.0.0:1"}, "cert="},
		{[]string{"--engine", "docker", "--listen",
			"tcp://0.0.0.0:1,insecure-no-client-verification=true,user=x"}, "loopback"},
		{[]string{"--engine", "docker", "--upstream", "tcp://127.0.0.1:1", "--listen", "unix:///x"},
			"--upstream"},
	} {
		out, err := exec.Command(shared.broker, append([]string{"front"}, tt.args...)...).CombinedOutput()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 2 || !strings.Contains(string(out), tt.want) ||
			strings.Count(string(out), "\n") != 1 {
			t.Errorf("front %q: %v: %s; want %s", tt.args, err, out, tt.want)
		}
	}
}
