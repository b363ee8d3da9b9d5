// Package certs makes the certificates by which an engine and its clients know each other: an authority, one for the server,
// and one for each client.
package certs

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
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

// Request is what is wanted.
type Request struct {
	// Dir is the folder for all: ca.pem, ca-key.pem, server-cert.pem, server-key.pem, and a folder with ca.pem, cert.pem and
	// key.pem for each client. An authority that is there is used.
	Dir string
	// Servers are the names and addresses of the server, Clients the common names of clients, Groups the organizational units
	// of these clients.
	Servers, Clients, Groups []string
	// Valid is how long certificates are valid from now on. An authority is for ten years at least.
	Valid time.Duration
}

// file is one that is written.
type file struct {
	path string
	text []byte
	mode fs.FileMode
}

// Make makes the files that are wanted and returns their paths. It overwrites none: where one of them is there, nothing is
// written.
func Make(r Request) (paths []string, err error) {
	ca, files, err := authority(r)
	if err != nil {
		return nil, err
	}
	if len(r.Servers) > 0 {
		made, err := ca.issue(serverTemplate(r), filepath.Join(r.Dir, "server-cert.pem"), filepath.Join(r.Dir, "server-key.pem"))
		if err != nil {
			return nil, err
		}
		files = append(files, made...)
	}
	for _, name := range r.Clients {
		if !isFileName(name) {
			return nil, fmt.Errorf("the client %q cannot be the name of a folder", name)
		}
		dir := filepath.Join(r.Dir, name)
		made, err := ca.issue(clientTemplate(r, name), filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"))
		if err != nil {
			return nil, err
		}
		files = append(append(files, made...), file{filepath.Join(dir, "ca.pem"), ca.text, 0o644})
	}
	return writeAll(files)
}

func isFileName(name string) bool {
	return name != "" && name[0] != '.' && !strings.ContainsAny(name, "/\x00")
}

// writeAll writes files that are not there yet, or none.
func writeAll(files []file) (paths []string, err error) {
	for _, f := range files {
		if _, err := os.Lstat(f.path); !errors.Is(err, fs.ErrNotExist) {
			return nil, errors.Join(fmt.Errorf("%s is there already: it is not overwritten", f.path), err)
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

// signer is the authority.
type signer struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	text        []byte
}

// authority is the one in the folder, or a new one with its files.
func authority(r Request) (*signer, []file, error) {
	certPath, keyPath := filepath.Join(r.Dir, "ca.pem"), filepath.Join(r.Dir, "ca-key.pem")
	cert, err := os.ReadFile(certPath)
	if errors.Is(err, fs.ErrNotExist) {
		return newAuthority(r, certPath, keyPath)
	}
	if err != nil {
		return nil, nil, err
	}
	key, err := os.ReadFile(keyPath)
	if err != nil {
		return nil, nil, fmt.Errorf("use the authority %s: %w", certPath, err)
	}
	s, err := readAuthority(cert, key)
	if err != nil {
		return nil, nil, fmt.Errorf("use the authority %s: %w", certPath, err)
	}
	return s, nil, nil
}

func readAuthority(cert, key []byte) (*signer, error) {
	block, _ := pem.Decode(cert)
	keyBlock, _ := pem.Decode(key)
	if block == nil || keyBlock == nil {
		return nil, errors.New("it is no PEM")
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, err
	}
	k, err := x509.ParseECPrivateKey(keyBlock.Bytes)
	if err != nil {
		return nil, err
	}
	if !k.PublicKey.Equal(c.PublicKey) {
		return nil, errors.New("its key is another's")
	}
	return &signer{c, k, cert}, nil
}

func newAuthority(r Request, certPath, keyPath string) (*signer, []file, error) {
	s := new(signer)
	template := newTemplate(max(r.Valid, 10*365*24*time.Hour), pkix.Name{CommonName: "authz-broker CA"})
	template.IsCA, template.BasicConstraintsValid = true, true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	files, err := s.issue(template, certPath, keyPath)
	return s, files, err
}

func newTemplate(valid time.Duration, name pkix.Name) *x509.Certificate {
	now := time.Now()
	// The clocks of others may be a little behind.
	return &x509.Certificate{Subject: name, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(valid), KeyUsage: x509.KeyUsageDigitalSignature}
}

func serverTemplate(r Request) *x509.Certificate {
	t := newTemplate(r.Valid, pkix.Name{CommonName: r.Servers[0]})
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	for _, name := range r.Servers {
		if ip := net.ParseIP(name); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, name)
		}
	}
	return t
}

func clientTemplate(r Request, name string) *x509.Certificate {
	t := newTemplate(r.Valid, pkix.Name{CommonName: name, OrganizationalUnit: r.Groups})
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	return t
}

// issue makes a key and a certificate for it; the authority's own, if it has none yet.
func (s *signer) issue(template *x509.Certificate, certPath, keyPath string) ([]file, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	if template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127)); err != nil {
		return nil, err
	}
	parent, by := s.certificate, s.key
	if parent == nil {
		parent, by = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, by)
	if err != nil {
		return nil, fmt.Errorf("make %s: %w", certPath, err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, err
	}
	text := encode("CERTIFICATE", der)
	if s.certificate == nil {
		if s.certificate, err = x509.ParseCertificate(der); err != nil {
			return nil, err
		}
		s.key, s.text = key, text
	}
	return []file{{keyPath, encode("EC PRIVATE KEY", keyDER), 0o600}, {certPath, text, 0o644}}, nil
}

func encode(kind string, der []byte) []byte {
	var text bytes.Buffer
	pem.Encode(&text, &pem.Block{Type: kind, Bytes: der}) // a buffer takes everything
	return text.Bytes()
}
