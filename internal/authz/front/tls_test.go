package front

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"palisade/internal/authz/action"
	"palisade/internal/authz/policy"
)

// testCA is a certificate authority for tests.
type testCA struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

var serial atomic.Int64

// newCA returns an authority below the parent, or a root if parent is nil.
func newCA(t *testing.T, name string, parent *testCA) *testCA {
	t.Helper()
	pair := (&testCA{t: t}).issueBelow(parent, &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	})
	return &testCA{t, pair.Leaf, pair.PrivateKey.(*ecdsa.PrivateKey)}
}

func (ca *testCA) issueBelow(parent *testCA, template *x509.Certificate) tls.Certificate {
	ca.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		ca.t.Fatal(err)
	}
	template.SerialNumber = big.NewInt(serial.Add(1))
	if template.NotAfter.IsZero() {
		template.NotAfter = time.Now().Add(time.Hour)
	}
	template.NotBefore = time.Now().Add(-time.Hour)
	issuer, signer := template, key
	if parent != nil {
		issuer, signer = parent.cert, parent.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, &key.PublicKey, signer)
	if err != nil {
		ca.t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		ca.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// client returns a certificate for a client. edit may be nil.
func (ca *testCA) client(name string, edit func(*x509.Certificate)) tls.Certificate {
	ca.t.Helper()
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: name},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if edit != nil {
		edit(template)
	}
	return ca.issueBelow(ca, template)
}

// crl returns a list of revoked certificates in PEM. edit may be nil.
func (ca *testCA) crl(edit func(*x509.RevocationList), revoked ...tls.Certificate) []byte {
	ca.t.Helper()
	list := &x509.RevocationList{
		Number: big.NewInt(serial.Add(1)), ThisUpdate: time.Now().Add(-time.Minute),
		NextUpdate: time.Now().Add(time.Hour),
	}
	for _, c := range revoked {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: c.Leaf.SerialNumber, RevocationTime: time.Now()})
	}
	if edit != nil {
		edit(list)
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, ca.cert, ca.key)
	if err != nil {
		ca.t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der})
}

func certPEM(all ...*testCA) (text []byte) {
	for _, ca := range all {
		block := &pem.Block{Type: "CERTIFICATE", Bytes: ca.cert.Raw}
		text = append(text, pem.EncodeToMemory(block)...)
	}
	return text
}

// testFront is a listener with mutual TLS, whose files are read again for each connection and
// request.
type testFront struct {
	net.Listener
	t     *testing.T
	dir   string
	log   *bytes.Buffer // guarded by the handler; read it only when no request is under way
	files *tlsFiles
	text  string
	env   Env
}

func (f *testFront) path(name string) string { return filepath.Join(f.dir, name) }

func (f *testFront) write(name string, text []byte) {
	f.t.Helper()
	if err := os.WriteFile(f.path(name), text, 0o600); err != nil {
		f.t.Fatal(err)
	}
}

// writeServer writes a new certificate of the server.
func (f *testFront) writeServer(ca *testCA) tls.Certificate {
	f.t.Helper()
	pair := ca.issueBelow(ca, &x509.Certificate{
		Subject: pkix.Name{CommonName: "server"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	key, err := x509.MarshalECPrivateKey(pair.PrivateKey.(*ecdsa.PrivateKey))
	if err != nil {
		f.t.Fatal(err)
	}
	f.write("cert", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Leaf.Raw}))
	f.write("key", pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: key}))
	return pair
}

// newFront returns a listener whose clients are issued by ca. crl may be nil.
func newFront(t *testing.T, engine action.Engine, ca *testCA, caText, crl []byte) *testFront {
	t.Helper()
	f := &testFront{t: t, dir: t.TempDir(), log: new(bytes.Buffer)}
	f.writeServer(ca)
	f.write("ca", caText)
	f.text = "tcp://127.0.0.1:0,cert=" + f.path("cert") + ",key=" + f.path("key") +
		",ca=" + f.path("ca")
	if crl != nil {
		f.write("crl", crl)
		f.text += ",crl=" + f.path("crl")
	}
	f.env = Env{Log: slog.New(slog.NewTextHandler(f.log, nil)), Engine: engine}
	a, err := ParseListen(f.text)
	if err != nil {
		t.Fatal(err)
	}
	if f.files, err = openTLSFiles(a, f.env); err != nil {
		t.Fatal(err)
	}
	f.files.interval = 0
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	f.Listener = &listener{Listener: l, open: f.files.open}
	return f
}

// connect connects a client, which sends a byte. It returns the front's end and the client's, and
// the error of the handshake.
func (f *testFront) connect(client tls.Certificate, edit func(*tls.Config)) (
	*Conn, *tls.Conn, error,
) {
	f.t.Helper()
	raw, err := net.Dial("tcp", f.Addr().String())
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { raw.Close() })
	server := accept(f.t, f)
	config := &tls.Config{InsecureSkipVerify: true}
	if client.Certificate != nil {
		// A client may send a certificate that no authority of the server has issued.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return &client, nil
		}
	}
	if edit != nil {
		edit(config)
	}
	c := tls.Client(raw, config)
	go c.Write([]byte("x"))
	if _, err = server.Read(make([]byte, 1)); err != nil {
		server.Close()
	}
	return server, c, err
}

func TestTLSIdentity(t *testing.T) {
	ca := newCA(t, "ca", nil)
	f := newFront(t, action.Docker, ca, certPEM(ca), nil)
	uri := &url.URL{Scheme: "spiffe", Host: "example.org", Path: "/ci"}
	alice := ca.client("alice", func(c *x509.Certificate) {
		c.Subject.Organization = []string{"dev", "uri:spiffe://example.org/root"}
		c.Subject.OrganizationalUnit = []string{"ops"}
		c.URIs = []*url.URL{uri}
		c.EmailAddresses = []string{"root@example.org"}
	})
	server, client, err := f.connect(alice, func(c *tls.Config) {
		c.NextProtos = []string{"h2", "http/1.1"}
	})
	if err != nil {
		t.Fatal(err)
	}
	got, err := server.Client(t.Context())
	want := Client{policy.Identity{User: "alice",
		Groups: []string{"dev", "ops", "uri:spiffe://example.org/ci"}}, "TLS"}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	state := client.ConnectionState()
	if state.NegotiatedProtocol != "http/1.1" || state.Version != tls.VersionTLS13 {
		t.Errorf("protocol %q, version %x", state.NegotiatedProtocol, state.Version)
	}
	if err := server.CloseWrite(); err != nil {
		t.Error(err)
	}
	if _, err := client.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("after CloseWrite: %v", err)
	}
}

func TestTLSIsulad(t *testing.T) {
	ca := newCA(t, "ca", nil)
	f := newFront(t, action.Isulad, ca, certPEM(ca), nil)
	_, client, err := f.connect(ca.client("alice", nil), func(c *tls.Config) {
		c.NextProtos = []string{"grpc-exp", "h2"}
	})
	if err != nil || client.ConnectionState().NegotiatedProtocol != "h2" {
		t.Errorf("%v, protocol %q", err, client.ConnectionState().NegotiatedProtocol)
	}
}

func TestTLSRefused(t *testing.T) {
	ca, other := newCA(t, "ca", nil), newCA(t, "ca", nil)
	revoked := ca.client("mallory", nil)
	between := newCA(t, "between", ca)
	below := between.client("carol", nil)
	below.Certificate = append(below.Certificate, between.cert.Raw)
	lapsed := newCA(t, "lapsed", nil)
	lists := append(ca.crl(nil, revoked), lapsed.crl(func(l *x509.RevocationList) {
		l.ThisUpdate, l.NextUpdate = time.Now().Add(-time.Hour), time.Now().Add(-time.Minute)
	})...)
	early := newCA(t, "early", nil)
	lists = append(lists, early.crl(func(l *x509.RevocationList) {
		l.ThisUpdate = time.Now().Add(time.Minute)
	})...)
	f := newFront(t, action.Docker, ca, certPEM(ca, lapsed, early), lists)
	if _, _, err := f.connect(ca.client("alice", nil), nil); err != nil {
		t.Fatalf("a valid certificate: %v", err)
	}
	usage := func(u ...x509.ExtKeyUsage) func(c *x509.Certificate) {
		return func(c *x509.Certificate) { c.ExtKeyUsage = u }
	}
	for name, tt := range map[string]struct {
		client tls.Certificate
		edit   func(*tls.Config)
		want   string
	}{
		"no certificate": {want: "didn't provide a certificate"},
		"authority of the same name": {client: other.client("alice", nil),
			want: "certificate signed by unknown authority"},
		"server's certificate": {client: ca.client("alice", usage(x509.ExtKeyUsageServerAuth)),
			want: "incompatible key usage"},
		"expired": {client: ca.client("alice", func(c *x509.Certificate) {
			c.NotAfter = time.Now().Add(-time.Second)
		}), want: "expired"},
		"TLS 1.1": {client: ca.client("alice", nil), edit: func(c *tls.Config) {
			c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
		}, want: "unsupported versions"},
		"other protocol": {client: ca.client("alice", nil), edit: func(c *tls.Config) {
			c.NextProtos = []string{"h2"}
		}, want: "unsupported application protocols"},
		"revoked": {client: revoked, want: `the certificate of "CN=mallory" is revoked`},
		"revoked, TLS 1.2": {client: revoked, edit: func(c *tls.Config) {
			c.MaxVersion = tls.VersionTLS12
		}, want: `the certificate of "CN=mallory" is revoked`},
		"issuer without a list": {client: below,
			want: `"CN=between" has no certificate revocation list`},
		"expired list": {client: lapsed.client("alice", nil), want: "expired on"},
		"early list":   {client: early.client("alice", nil), want: "is not valid before"},
	} {
		server, _, err := f.connect(tt.client, tt.edit)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", name, err, tt.want)
		}
		if c, err := server.Client(t.Context()); err == nil {
			t.Errorf("%s: identified as %+v", name, c)
		}
	}
	if !strings.Contains(f.log.String(), "TLS handshake failed") {
		t.Errorf("log: %s", f.log)
	}
}

// TestTLSIntermediate verifies clients of an authority whose own certificate is revoked later.
func TestTLSIntermediate(t *testing.T) {
	root := newCA(t, "root", nil)
	between := newCA(t, "between", root)
	f := newFront(t, action.Docker, root, certPEM(root, between),
		append(root.crl(nil), between.crl(nil)...))
	server, _, err := f.connect(between.client("alice", nil), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := server.Client(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.write("crl", append(root.crl(nil, tls.Certificate{Leaf: between.cert}), between.crl(nil)...))
	_, err = server.Client(t.Context())
	if err == nil || !strings.Contains(err.Error(), `"CN=between" is revoked`) {
		t.Errorf("got %v", err)
	}
}

// TestTLSChanges changes the files while a connection is open.
func TestTLSChanges(t *testing.T) {
	ca, next := newCA(t, "ca", nil), newCA(t, "next", nil)
	alice := ca.client("alice", nil)
	f := newFront(t, action.Docker, ca, certPEM(ca), ca.crl(nil))
	server, _, err := f.connect(alice, nil)
	if err != nil {
		t.Fatal(err)
	}
	check := func(step, want string) {
		t.Helper()
		c, err := server.Client(t.Context())
		if want == "" && (err != nil || c.User != "alice") ||
			want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: got %+v, %v, want %q", step, c, err, want)
		}
	}
	check("at first", "")
	f.write("crl", ca.crl(nil, alice))
	check("revoked", "is revoked")
	f.write("crl", ca.crl(nil))
	check("no longer on the list", "")

	for _, tt := range []struct {
		file string
		text []byte
		want string
	}{
		{"crl", next.crl(nil), "no certificate of the authority with this name"},
		{"crl", []byte("nonsense"), "parse " + f.path("crl")},
		{"crl", nil, "parse " + f.path("crl")},
		{"crl", ca.crl(func(l *x509.RevocationList) {
			l.ExtraExtensions = []pkix.Extension{{Id: []int{2, 5, 29, 27}, Critical: true,
				Value: []byte{2, 1, 1}}} // a delta of another list
		}), "unsupported critical extension 2.5.29.27"},
		{"ca", []byte("nonsense"), "no certificate in PEM"},
		{"key", []byte("nonsense"), "use " + f.path("cert")},
	} {
		good, err := os.ReadFile(f.path(tt.file))
		if err != nil {
			t.Fatal(err)
		}
		f.log.Reset()
		f.write(tt.file, tt.text)
		check("a bad file", "")
		if f.log.Len() > 0 {
			t.Errorf("a file that may be incomplete: %s", f.log)
		}
		check("a bad file", "")
		check("a bad file", "")
		if log := f.log.String(); strings.Count(log, "\n") != 1 || !strings.Contains(log, tt.want) {
			t.Errorf("log: %s\nwant %q once", log, tt.want)
		}
		if l, err := listen(f.text, f.env); err == nil {
			l.Close()
			t.Errorf("listen with a bad file %s: no error", tt.file)
		}
		f.write(tt.file, good)
		check("a good file again", "")
	}

	pair := f.writeServer(ca)
	if _, client, err := f.connect(alice, nil); err != nil {
		t.Error(err)
	} else if got := client.ConnectionState().PeerCertificates[0]; !got.Equal(pair.Leaf) {
		t.Errorf("the server's certificate is still %s", got.SerialNumber)
	}
	if err := os.Remove(f.path("ca")); err != nil {
		t.Fatal(err)
	}
	check("a missing authority", "")
	f.write("crl", next.crl(nil))
	f.write("ca", certPEM(next))
	check("another authority", "unknown authority")
	if _, _, err := f.connect(alice, nil); err == nil {
		t.Error("the certificate of an authority that was replaced is valid")
	}
	if _, _, err := f.connect(next.client("bob", nil), nil); err != nil {
		t.Errorf("the certificate of the new authority: %v", err)
	}
}

// TestTLSExpires lets a certificate, and a list of revoked certificates, expire while connections
// are open.
func TestTLSExpires(t *testing.T) {
	ca := newCA(t, "ca", nil)
	soon := time.Now().Add(2 * time.Second)
	f := newFront(t, action.Docker, ca, certPEM(ca), nil)
	listed := newFront(t, action.Docker, ca, certPEM(ca),
		ca.crl(func(l *x509.RevocationList) { l.NextUpdate = soon }))
	for want, tt := range map[string]struct {
		*testFront
		client tls.Certificate
	}{
		"has expired or is not yet valid": {f, ca.client("alice", func(c *x509.Certificate) {
			c.NotAfter = soon
		})},
		"expired on": {listed, ca.client("alice", nil)},
	} {
		t.Run(want, func(t *testing.T) {
			t.Parallel()
			server, _, err := tt.connect(tt.client, nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := server.Client(t.Context()); err != nil {
				t.Fatal(err)
			}
			for err == nil && time.Now().Before(soon.Add(10*time.Second)) {
				_, err = server.Client(t.Context())
				time.Sleep(time.Millisecond)
			}
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestTLSSilent connects clients that send nothing: they do not delay others, and their connections
// can be closed.
func TestTLSSilent(t *testing.T) {
	ca := newCA(t, "ca", nil)
	f := newFront(t, action.Docker, ca, certPEM(ca), nil)
	raw, err := net.Dial("tcp", f.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	silent := accept(t, f)
	done := make(chan error)
	go func() {
		_, err := silent.Read(make([]byte, 1))
		done <- err
	}()
	if _, _, err := f.connect(ca.client("alice", nil), nil); err != nil {
		t.Error(err)
	}
	silent.Close()
	if err := <-done; err == nil {
		t.Error("a closed connection was read")
	}
}

// BenchmarkTLSClient measures what a request costs.
func BenchmarkTLSClient(b *testing.B) {
	t := new(testing.T)
	ca := newCA(t, "ca", nil)
	alice := ca.client("alice", nil)
	a := &authority{pool: x509.NewCertPool()}
	a.pool.AddCert(ca.cert)
	f := &tlsFiles{interval: time.Hour}
	f.current.Store(a)
	f.checked.Store(int64(time.Since(start)))
	client := &tlsClient{files: f, certs: []*x509.Certificate{alice.Leaf}}
	for b.Loop() {
		if _, err := client.get(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
