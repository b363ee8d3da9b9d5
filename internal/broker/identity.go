package broker

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"sync"
)

// identity is what a client's certificate says of who it is.
type identity struct {
	name string
	// groups are the values of O and OU.
	groups []string
}

// identities remembers certificates that were read: reading one takes longer than a decision. They are trusted as the engine
// trusts them, which has verified them.
type identities struct {
	mu    sync.RWMutex
	known map[string]*identity // by the certificate as it came
}

// maxIdentities bounds how many are remembered, of some KiB each.
const maxIdentities = 1024

// of reads a certificate, which is a JSON string of base64 of PEM.
func (i *identities) of(raw json.RawMessage) (*identity, error) {
	i.mu.RLock()
	found := i.known[string(raw)]
	i.mu.RUnlock()
	if found != nil {
		return found, nil
	}
	found, err := readIdentity(raw)
	if err != nil {
		return nil, err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.known == nil || len(i.known) >= maxIdentities {
		i.known = make(map[string]*identity)
	}
	i.known[string(raw)] = found
	return found, nil
}

func readIdentity(raw json.RawMessage) (*identity, error) {
	var text []byte
	if err := json.Unmarshal(raw, &text); err != nil {
		return nil, fmt.Errorf("read the client's certificate: %w", err)
	}
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, errors.New("read the client's certificate: it is no PEM")
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("read the client's certificate: %w", err)
	}
	groups := append([]string(nil), c.Subject.Organization...)
	return &identity{c.Subject.CommonName, append(groups, c.Subject.OrganizationalUnit...)}, nil
}

// identify is who asks, where the engine has passed certificates on.
func (i *identities) identify(r *request) (groups []string, err error) {
	if len(r.Certificates.Value) == 0 {
		return nil, nil
	}
	who, err := i.of(r.Certificates.Value[0])
	if err != nil {
		return nil, err
	}
	if who.name != r.User.Value {
		return nil, fmt.Errorf("the engine names the user %q, and the certificate %q", r.User.Value, who.name)
	}
	return who.groups, nil
}
