package broker

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"sync"

	"palisade/internal/authz/policy"
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

// identify is who asks, by the certificates that the engine has passed on. Without a name, a certificate and a method by which
// it was verified the client is at the unix socket, or at a TCP socket at which dockerd verifies nobody.
func (i *identities) identify(r *request) (who policy.Identity, err error) {
	who.User = r.User.Value
	if len(r.Certificates.Value) == 0 {
		who.Local = who.User == "" && r.UserAuthNMethod.Value == ""
		return who, nil
	}
	certified, err := i.of(r.Certificates.Value[0])
	if err != nil {
		return who, err
	}
	if certified.name != who.User {
		return who, fmt.Errorf("the engine names the user %q, and the certificate %q",
			who.User, certified.name)
	}
	who.Groups = certified.groups
	return who, nil
}
