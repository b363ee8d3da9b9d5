package front

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"palisade/internal/authz/action"
	"palisade/internal/authz/certs"
)

// newCertificates returns the directory with the certificates of a front on this host and of alice.
func newCertificates(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	_, err := certs.Create(certs.Request{
		Dir: dir, Servers: []string{"127.0.0.1"}, Clients: []string{"alice"}, Valid: time.Hour,
	})
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// logText keeps the text of a log.
type logText struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logText) Write(text []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(text)
}

func (l *logText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// startConnector returns the socket of alice's connection to a front, and the log.
func startConnector(t *testing.T, dir string, front net.Addr) (string, *logText) {
	t.Helper()
	log := new(logText)
	c := Connector{
		Address: front.String(), CA: filepath.Join(dir, "ca.pem"),
		Cert: filepath.Join(dir, "alice/cert.pem"), Key: filepath.Join(dir, "alice/key.pem"),
		Log: slog.New(slog.NewTextHandler(log, nil)),
	}
	if err := c.Check(); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(t.TempDir(), "socket")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error)
	go func() { served <- c.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return socket, log
}

// TestConnectorHalfClose makes sure that each direction ends by itself.
func TestConnectorHalfClose(t *testing.T) {
	dir := newCertificates(t)
	pair, err := tls.LoadX509KeyPair(
		filepath.Join(dir, "server-cert.pem"), filepath.Join(dir, "server-key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAnyClientCert,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		text, _ := io.ReadAll(c)
		c.Write(append(text, " back"...))
		c.Close()
	}()
	socket, log := startConnector(t, dir, l.Addr())
	c, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.Write([]byte("there and"))
	c.(*net.UnixConn).CloseWrite()
	if text, err := io.ReadAll(c); string(text) != "there and back" || err != nil {
		t.Errorf("%q, %v; %s", text, err, log)
	}
}

// TestConnectorToIsulad calls iSulad through a socket of alice and mutual TLS.
func TestConnectorToIsulad(t *testing.T) {
	dir := newCertificates(t)
	f := newIsuladFixture(t, allForAlice)
	file := func(name string) string { return filepath.Join(dir, name) }
	l, err := listen("tcp://127.0.0.1:0,cert="+file("server-cert.pem")+",key="+file("server-key.pem")+
		",ca="+file("ca.pem"), Env{Log: f.front.Log, Engine: action.Isulad})
	if err != nil {
		t.Fatal(err)
	}
	go f.front.Serve(l)
	socket, log := startConnector(t, dir, l.Addr())
	f.client.Transport.(*http.Transport).DialContext = func(
		ctx context.Context, _, _ string,
	) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}
	if _, state := f.call(t, "List", frame("x"), "username", "root"); state != "0" {
		t.Errorf("%q; %s", state, log)
	}
	if r := <-f.got; r.Header.Get("username") != "alice" {
		t.Errorf("in the name of %q", r.Header.Get("username"))
	}
}

func TestConnectorFails(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close() // nothing listens there
	socket, log := startConnector(t, newCertificates(t), l.Addr())
	c, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	text, _ := io.ReadAll(c)
	if len(text) > 0 || !strings.Contains(log.String(), "connection refused") {
		t.Errorf("%q, %s", text, log)
	}
	for _, c := range []Connector{{}, {Cert: socket, Key: socket}} {
		if c.Check() == nil {
			t.Errorf("%+v can be used", c)
		}
	}
}
