package certs_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"palisade/internal/authz/certs"
)

// TestCreate uses the certificates in TLS handshakes, as an engine and its client do.
func TestCreate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "certs")
	for _, r := range []certs.Request{
		{
			Servers: []string{"localhost", "127.0.0.1"}, Clients: []string{"alice"},
			Groups: []string{"ops"},
		},
		{Clients: []string{"bob smith"}},
	} {
		r.Dir, r.Valid = dir, time.Hour
		if _, err := certs.Create(r); err != nil {
			t.Fatal(err)
		}
	}
	filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		want := fs.FileMode(0o644)
		if entry.IsDir() {
			want = fs.ModeDir | 0o700
		} else if strings.HasSuffix(path, "key.pem") {
			want = 0o600
		}
		if info, err := entry.Info(); err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v", path, info, err)
		}
		return err
	})
	for client, groups := range map[string]int{"alice": 1, "bob smith": 0} {
		for _, name := range []string{"localhost", "127.0.0.1"} {
			c, err := handshake(dir, filepath.Join(dir, client), name)
			if err != nil {
				t.Fatal(err)
			}
			if c.Subject.CommonName != client || len(c.Subject.OrganizationalUnit) != groups {
				t.Errorf("%s is %v", client, c.Subject)
			}
		}
	}
	if _, err := handshake(dir, filepath.Join(dir, "alice"), "example.org"); err == nil {
		t.Error("the server is accepted by another name")
	}
	if err := os.Remove(filepath.Join(dir, "alice/cert.pem")); err != nil {
		t.Fatal(err)
	}
	for name, r := range map[string]certs.Request{
		"server":           {Servers: []string{"x"}},
		"client":           {Clients: []string{"new", "bob smith"}},
		"half of a client": {Clients: []string{"alice"}},
	} {
		r.Dir = dir
		if _, err := certs.Create(r); err == nil || !strings.Contains(err.Error(), "exists already") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "new")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("some of the files were created: %v", err)
	}
}

// handshake returns the client's certificate as the server receives it.
func handshake(dir, client, name string) (*x509.Certificate, error) {
	ca, err := os.ReadFile(filepath.Join(client, "ca.pem"))
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	clientPair, err := tls.LoadX509KeyPair(client+"/cert.pem", client+"/key.pem")
	if err != nil {
		return nil, err
	}
	serverPair, err := tls.LoadX509KeyPair(dir+"/server-cert.pem", dir+"/server-key.pem")
	if err != nil {
		return nil, err
	}
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	server := tls.Server(a, &tls.Config{
		Certificates: []tls.Certificate{serverPair},
		ClientCAs:    pool,
		ClientAuth:   tls.RequireAndVerifyClientCert,
	})
	done := make(chan error, 1)
	go func() {
		done <- tls.Client(b, &tls.Config{
			Certificates: []tls.Certificate{clientPair}, RootCAs: pool, ServerName: name,
		}).Handshake()
		b.Close()
	}()
	err = server.Handshake()
	if err := errors.Join(<-done, err); err != nil {
		return nil, err
	}
	return server.ConnectionState().PeerCertificates[0], nil
}

func TestBadRequests(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"", ".", "..", "a/b", ".hidden", "/"} {
		_, err := certs.Create(certs.Request{Dir: dir, Clients: []string{name}})
		if err == nil || !strings.Contains(err.Error(), "must be a file name") {
			t.Errorf("%q: %v", name, err)
		}
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) > 0 {
		t.Errorf("%v, %v", names, err)
	}
	for file, text := range map[string]string{"ca.pem": "x", "ca-key.pem": "x"} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	_, err := certs.Create(certs.Request{Dir: dir, Clients: []string{"a"}})
	if err == nil || !strings.Contains(err.Error(), "PEM") {
		t.Errorf("%v", err)
	}
}
