package front

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"palisade/internal/authz/action"
	"palisade/internal/authz/policy"
)

const (
	// handshakeTime is the time limit for a TLS handshake.
	handshakeTime = 10 * time.Second
	// checkInterval is the interval of checks for changed files, if there are requests.
	checkInterval = time.Second
)

// tlsFiles are the certificates of a listener. They are read again when the files change.
type tlsFiles struct {
	paths    [4]string // certificate, key, CA and CRL
	protocol string
	log      *slog.Logger
	current  atomic.Pointer[authority]
	interval time.Duration // checkInterval, except in tests

	mu      sync.Mutex // held while the files are read
	checked atomic.Int64
	failed  string // the error of the last check
	warned  string // the error that was logged last

	refusals throttle
}

func openTLSFiles(a Address, env Env) (*tlsFiles, error) {
	f := &tlsFiles{
		paths: [4]string{a.Cert, a.Key, a.CA, a.CRL}, protocol: "http/1.1", log: env.Log,
		interval: checkInterval,
	}
	if env.Engine == action.Isulad {
		f.protocol = "h2"
	}
	state, err := f.load(nil)
	f.current.Store(state)
	return f, err
}

// get returns the current certificates. It reads the files if the last check was checkInterval
// ago. After an error the certificates stay as they are; it is logged at the second check, since
// a certificate and its key are not replaced at the same time.
func (f *tlsFiles) get() *authority {
	old := f.current.Load()
	if time.Since(start)-time.Duration(f.checked.Load()) < f.interval || !f.mu.TryLock() {
		return old
	}
	defer f.mu.Unlock()
	defer func() { f.checked.Store(int64(time.Since(start))) }()
	state, err := f.load(old)
	switch {
	case err != nil && err.Error() != f.failed:
		f.failed = err.Error()
	case err != nil && err.Error() != f.warned:
		f.warned = err.Error()
		f.log.Error("cannot load the certificates, the previous ones stay in use", "err", err)
	case err == nil:
		f.failed, f.warned = "", ""
		if state != old {
			f.current.Store(state)
			f.log.Info("certificates loaded", "files", strings.TrimSpace(strings.Join(f.paths[:], " ")))
		}
	}
	return f.current.Load()
}

// start is the origin of the times in atomic integers, which are monotonic.
var start = time.Now()

// load reads the files, and returns old if they are the same.
func (f *tlsFiles) load(old *authority) (*authority, error) {
	var text [4][]byte
	for i, path := range f.paths {
		if path == "" {
			continue
		}
		var err error
		if text[i], err = os.ReadFile(path); err != nil {
			return nil, err
		}
	}
	if old != nil && slices.EqualFunc(text[:], old.text[:], bytes.Equal) {
		return old, nil
	}
	a := &authority{text: text, protocol: f.protocol, pool: x509.NewCertPool()}
	var err error
	if a.pair, err = tls.X509KeyPair(text[0], text[1]); err != nil {
		return nil, fmt.Errorf("use %s and %s: %w", f.paths[0], f.paths[1], err)
	}
	roots, err := parseCertificates(text[2])
	if err != nil {
		return nil, fmt.Errorf("parse %s: %w", f.paths[2], err)
	}
	a.roots = roots
	for _, root := range roots {
		a.pool.AddCert(root)
	}
	if f.paths[3] != "" {
		if a.revoked, err = parseCRLs(text[3], roots); err != nil {
			return nil, fmt.Errorf("parse %s: %w", f.paths[3], err)
		}
	}
	return a, nil
}

func parseCertificates(text []byte) (all []*x509.Certificate, err error) {
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	if len(all) == 0 {
		return nil, errors.New("no certificate in PEM")
	}
	return all, nil
}

// authority verifies clients by the content of the files. It is immutable.
type authority struct {
	text     [4][]byte
	protocol string
	pair     tls.Certificate
	roots    []*x509.Certificate
	pool     *x509.CertPool
	// revoked has a list for each issuer, or is nil if certificates are not revoked.
	revoked map[issuer]*revocations
}

// verify verifies the first certificate for a client; the others may be intermediate. It returns
// the time until which the result holds.
func (a *authority) verify(certs []*x509.Certificate) (until time.Time, err error) {
	if len(certs) == 0 {
		return until, errors.New("the client has no certificate")
	}
	intermediates := x509.NewCertPool()
	for _, c := range slices.Concat(certs[1:], a.roots) { // one root may have issued another
		intermediates.AddCert(c)
	}
	now := time.Now()
	chains, err := certs[0].Verify(x509.VerifyOptions{
		Roots: a.pool, Intermediates: intermediates, CurrentTime: now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return until, err
	}
	until = certs[0].NotAfter
	// Each chain is checked: one may end below a certificate that another finds revoked.
	for _, chain := range chains {
		for i, c := range chain {
			until = earliest(until, c.NotAfter)
			if a.revoked == nil || i+1 == len(chain) {
				continue
			}
			valid, err := a.checkRevoked(c, chain[i+1], now)
			if err != nil {
				return until, err
			}
			until = earliest(until, valid)
		}
	}
	return until, nil
}

func earliest(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// tlsClient is the client of a connection.
type tlsClient struct {
	files *tlsFiles
	conn  *tls.Conn

	mu     sync.Mutex
	client Client
	certs  []*x509.Certificate
	// by has verified the certificates. They need not be verified again before until.
	by    *authority
	until time.Time
}

// open returns the connection of a client, which has 10 seconds for the handshake once the
// connection is read.
func (f *tlsFiles) open(c net.Conn) *Conn {
	client := &tlsClient{files: f}
	client.conn = tls.Server(c, &tls.Config{GetConfigForClient: client.config})
	key := func() string { return "user:" + client.client.User }
	return &Conn{Conn: client.conn, verify: client.handshake, client: client.get, key: key}
}

// config returns a configuration without tickets: with one a client could resume a session after
// its certificate was revoked. A server in Go never renegotiates.
func (t *tlsClient) config(*tls.ClientHelloInfo) (*tls.Config, error) {
	a := t.files.get()
	return &tls.Config{
		MinVersion:             tls.VersionTLS12,
		NextProtos:             []string{a.protocol},
		Certificates:           []tls.Certificate{a.pair},
		ClientAuth:             tls.RequireAndVerifyClientCert,
		ClientCAs:              a.pool,
		SessionTicketsDisabled: true,
		VerifyConnection: func(state tls.ConnectionState) error {
			t.mu.Lock()
			defer t.mu.Unlock()
			t.certs = state.PeerCertificates
			if err := t.verify(a); err != nil {
				return err
			}
			t.client = Client{identityOf(t.certs[0]), "TLS"}
			return nil
		},
	}, nil
}

// handshake is called once, before the first read.
func (t *tlsClient) handshake() error {
	ctx, cancel := context.WithTimeout(context.Background(), handshakeTime)
	defer cancel()
	err := t.conn.HandshakeContext(ctx)
	if err != nil {
		t.files.refusals.warn(t.files.log, "TLS handshake failed",
			"client", t.conn.RemoteAddr().String(), "err", err)
	}
	return err
}

// verify verifies the certificates. The mutex is held.
func (t *tlsClient) verify(a *authority) (err error) {
	t.by, t.until = nil, time.Time{}
	until, err := a.verify(t.certs)
	if err == nil {
		t.by, t.until = a, until
	}
	return err
}

func (t *tlsClient) get(context.Context) (Client, error) {
	a := t.files.get()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.by != a || !time.Now().Before(t.until) {
		if err := t.verify(a); err != nil {
			return Client{}, fmt.Errorf("the client's certificate: %w", err)
		}
	}
	return t.client, nil
}

// uriPrefix marks the groups that are URIs in a certificate.
const uriPrefix = "uri:"

// identityOf returns the identity in a certificate. It ignores an O or OU with uriPrefix, which
// only URIs have.
func identityOf(c *x509.Certificate) policy.Identity {
	id := policy.Identity{User: c.Subject.CommonName}
	for _, group := range slices.Concat(c.Subject.Organization, c.Subject.OrganizationalUnit) {
		if !strings.HasPrefix(group, uriPrefix) {
			id.Groups = append(id.Groups, group)
		}
	}
	for _, uri := range c.URIs {
		id.Groups = append(id.Groups, uriPrefix+uri.String())
	}
	return id
}

// throttle limits a log message to one per second.
type throttle struct{ last, omitted atomic.Int64 }

func (t *throttle) warn(log *slog.Logger, message string, args ...any) {
	now := int64(time.Since(start)/time.Second) + 1
	if t.last.Swap(now) == now {
		t.omitted.Add(1)
		return
	}
	if n := t.omitted.Swap(0); n > 0 {
		args = append(args, "omitted", n)
	}
	log.Warn(message, args...)
}
