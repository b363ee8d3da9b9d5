package broker

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"sync"

	"palisade/internal/authz/policy"
)

type identity struct {
	name string
	// groups are the values of O and OU.
	groups []string
}

// identities caches parsed certificates: parsing one takes longer than a decision. The engine has
// verified them.
type identities struct {
	mu    sync.RWMutex
	cache map[string]*identity // by the JSON text of the certificate
}

// maxIdentities is the size of the cache. An entry has some KiB.
const maxIdentities = 1024

// get parses a certificate, a JSON string of PEM in base64, or returns it from the cache.
func (i *identities) get(raw json.RawMessage) (*identity, error) {
	i.mu.RLock()
	found := i.cache[string(raw)]
	i.mu.RUnlock()
	if found != nil {
		return found, nil
	}
	found, err := parseIdentity(raw)
	if err != nil {
		return nil, fmt.Errorf("parse the client's certificate: %w", err)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.cache == nil || len(i.cache) >= maxIdentities {
		i.cache = make(map[string]*identity)
	}
	i.cache[string(raw)] = found
	return found, nil
}

func parseIdentity(raw json.RawMessage) (*identity, error) {
	var text []byte
	if err := json.Unmarshal(raw, &text); err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, errors.New("not a certificate in PEM")
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, err
	}
	groups := slices.Concat(c.Subject.Organization, c.Subject.OrganizationalUnit)
	return &identity{c.Subject.CommonName, groups}, nil
}

// identify returns the user of a request, by the certificate that the engine passed on. A client
// without a name, a certificate and an authentication method uses the unix socket, or a TCP socket
// at which dockerd does not verify clients.
func (i *identities) identify(r *request) (id policy.Identity, err error) {
	id.User = r.User.Value
	if len(r.Certificates.Value) == 0 {
		id.Local = id.User == "" && r.UserAuthNMethod.Value == ""
		return id, nil
	}
	subject, err := i.get(r.Certificates.Value[0])
	if err != nil {
		return id, err
	}
	if subject.name != id.User {
		return id, fmt.Errorf("the engine names the user %q, but the certificate names %q",
			id.User, subject.name)
	}
	id.Groups = subject.groups
	return id, nil
}
