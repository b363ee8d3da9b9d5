// Package certs creates a certificate authority, and certificates for an engine and its clients.
package certs

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Request describes the certificates to create.
type Request struct {
	// Dir is the directory for ca.pem, ca-key.pem, server-cert.pem and server-key.pem, and for a
	// directory with ca.pem, cert.pem and key.pem for each client. An existing authority is used.
	Dir string
	// Servers are the names and addresses of the server.
	Servers []string
	// Clients are the common names of clients.
	Clients []string
	// Groups are the organizational units of all clients.
	Groups []string
	// Valid is the duration of validity from now. That of an authority is at least ten years.
	Valid time.Duration
}

type file struct {
	path string
	text []byte
	mode fs.FileMode
}

// Create creates the requested files and returns their paths. If one of them exists, it returns an
// error and creates none.
func Create(r Request) (paths []string, err error) {
	ca, files, err := openAuthority(r)
	if err != nil {
		return nil, err
	}
	if len(r.Servers) > 0 {
		t := newTemplate(r.Valid, pkix.Name{CommonName: r.Servers[0]},
			[]x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth})
		for _, name := range r.Servers {
			if ip := net.ParseIP(name); ip != nil {
				t.IPAddresses = append(t.IPAddresses, ip)
			} else {
				t.DNSNames = append(t.DNSNames, name)
			}
		}
		issued, err := ca.issue(t, r.Dir, "server-cert.pem", "server-key.pem")
		if err != nil {
			return nil, err
		}
		files = append(files, issued...)
	}
	for _, name := range r.Clients {
		if name == "" || name[0] == '.' || strings.ContainsAny(name, "/\x00") {
			return nil, fmt.Errorf("client %q: the name of a client must be a file name", name)
		}
		dir := filepath.Join(r.Dir, name)
		t := newTemplate(r.Valid, pkix.Name{CommonName: name, OrganizationalUnit: r.Groups},
			[]x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth})
		issued, err := ca.issue(t, dir, "cert.pem", "key.pem")
		if err != nil {
			return nil, err
		}
		files = append(append(files, issued...), file{filepath.Join(dir, "ca.pem"), ca.text, 0o644})
	}
	for _, f := range files {
		if _, err := os.Lstat(f.path); !errors.Is(err, fs.ErrNotExist) {
			return nil, errors.Join(fmt.Errorf("%s exists already", f.path), err)
		}
	}
	for _, f := range files {
		if err := os.MkdirAll(filepath.Dir(f.path), 0o700); err != nil {
			return paths, err
		}
		w, err := os.OpenFile(f.path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, f.mode)
		if err != nil {
			return paths, err
		}
		_, err = w.Write(f.text)
		if err = errors.Join(err, w.Close()); err != nil {
			return paths, err
		}
		paths = append(paths, f.path)
	}
	return paths, nil
}

// authority is a certificate authority. The zero value issues its own certificate.
type authority struct {
	certificate *x509.Certificate
	key         crypto.PrivateKey
	text        []byte // the certificate in PEM
}

// openAuthority returns the authority in the directory, or a new one and its files.
func openAuthority(r Request) (*authority, []file, error) {
	path := filepath.Join(r.Dir, "ca.pem")
	cert, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		ca := new(authority)
		template := newTemplate(
			max(r.Valid, 10*365*24*time.Hour), pkix.Name{CommonName: "authz-broker CA"}, nil,
		)
		template.IsCA, template.BasicConstraintsValid = true, true
		template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
		files, err := ca.issue(template, r.Dir, "ca.pem", "ca-key.pem")
		return ca, files, err
	}
	if err != nil {
		return nil, nil, err
	}
	key, err := os.ReadFile(filepath.Join(r.Dir, "ca-key.pem"))
	if err != nil {
		return nil, nil, fmt.Errorf("use authority %s: %w", path, err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, nil, fmt.Errorf("use authority %s: %w", path, err)
	}
	return &authority{pair.Leaf, pair.PrivateKey, cert}, nil, nil
}

func newTemplate(
	valid time.Duration, name pkix.Name, usage []x509.ExtKeyUsage,
) *x509.Certificate {
	now := time.Now()
	return &x509.Certificate{
		Subject:     name,
		NotBefore:   now.Add(-time.Hour), // for clocks that are slow
		NotAfter:    now.Add(valid),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: usage,
	}
}

// issue generates a key and a certificate, and returns their files.
func (a *authority) issue(
	template *x509.Certificate, dir, certName, keyName string,
) ([]file, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	parent, signer := a.certificate, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		return nil, fmt.Errorf("create %s: %w", filepath.Join(dir, certName), err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if a.certificate == nil {
		if a.certificate, err = x509.ParseCertificate(der); err != nil {
			return nil, err
		}
		a.key, a.text = key, text
	}
	keyText := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER})
	return []file{
		{filepath.Join(dir, keyName), keyText, 0o600},
		{filepath.Join(dir, certName), text, 0o644},
	}, nil
}
