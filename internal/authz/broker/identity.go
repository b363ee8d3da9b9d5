package broker

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"

	"palisade/internal/authz/policy"
)

// parseCertificate parses a certificate, a JSON string of PEM in base64. The engine has verified
// it.
func parseCertificate(raw json.RawMessage) (*x509.Certificate, error) {
	var text []byte
	if err := json.Unmarshal(raw, &text); err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, errors.New("not a certificate in PEM")
	}
	return x509.ParseCertificate(block.Bytes)
}

// identify returns the user of a request, by the certificate that the engine passed on. A client
// without a name, a certificate and an authentication method uses the unix socket, or a TCP socket
// at which dockerd does not verify clients.
func identify(r *request) (id policy.Identity, err error) {
	id.User = r.User.Value
	if len(r.Certificates.Value) == 0 {
		id.Local = id.User == "" && r.UserAuthNMethod.Value == ""
		return id, nil
	}
	c, err := parseCertificate(r.Certificates.Value[0])
	if err != nil {
		return id, fmt.Errorf("parse the client's certificate: %w", err)
	}
	if c.Subject.CommonName != id.User {
		return id, fmt.Errorf("the engine names the user %q, but the certificate names %q",
			id.User, c.Subject.CommonName)
	}
	id.Groups = slices.Concat(c.Subject.Organization, c.Subject.OrganizationalUnit)
	return id, nil
}
