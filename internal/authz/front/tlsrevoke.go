package front

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"time"
)

// issuer is a certificate of an authority in DER.
type issuer string

// revocations are the certificates that an issuer has revoked.
type revocations struct {
	serials map[string]bool
	// The list is valid between from and until, which may be zero.
	from, until time.Time
}

// parseCRLs parses lists of revoked certificates in PEM, or one in DER. Each must be signed by one
// of the roots; of several lists of one issuer the newest counts.
func parseCRLs(text []byte, roots []*x509.Certificate) (map[issuer]*revocations, error) {
	var lists [][]byte
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "X509 CRL" {
			lists = append(lists, block.Bytes)
		}
	}
	if len(lists) == 0 {
		lists = append(lists, text)
	}
	all := make(map[issuer]*revocations)
	for _, der := range lists {
		list, err := x509.ParseRevocationList(der)
		if err != nil {
			return nil, err
		}
		r, err := newRevocations(list)
		if err != nil {
			return nil, err
		}
		signed := errors.New("no certificate of the authority with this name")
		for _, root := range roots {
			if !bytes.Equal(root.RawSubject, list.RawIssuer) {
				continue
			}
			err := list.CheckSignatureFrom(root)
			if err != nil {
				signed = errors.Join(signed, err)
				continue
			}
			signed = nil
			if known := all[issuer(root.Raw)]; known == nil || r.from.After(known.from) {
				all[issuer(root.Raw)] = r
			}
		}
		if signed != nil {
			return nil, fmt.Errorf("list of %q: %w", list.Issuer, signed)
		}
	}
	return all, nil
}

// newRevocations refuses a list with a critical extension: it may not cover all certificates of its
// issuer, or cover those of other issuers.
func newRevocations(list *x509.RevocationList) (*revocations, error) {
	r := &revocations{make(map[string]bool), list.ThisUpdate, list.NextUpdate}
	extensions := list.Extensions
	for _, entry := range list.RevokedCertificateEntries {
		r.serials[entry.SerialNumber.String()] = true
		extensions = append(extensions, entry.Extensions...)
	}
	for _, e := range extensions {
		if e.Critical {
			return nil, fmt.Errorf("list of %q: unsupported critical extension %s", list.Issuer, e.Id)
		}
	}
	return r, nil
}

// checkRevoked returns an error if the list of the issuer has the certificate, is missing or is not
// valid now. Otherwise it returns the time until which the list is valid.
func (a *authority) checkRevoked(c, from *x509.Certificate, now time.Time) (time.Time, error) {
	switch r := a.revoked[issuer(from.Raw)]; {
	case r == nil:
		return now, fmt.Errorf("%q has no certificate revocation list", from.Subject)
	case now.Before(r.from):
		return now, fmt.Errorf("the certificate revocation list of %q is not valid before %s",
			from.Subject, r.from.Format(time.RFC3339))
	case r.until.IsZero() || now.Before(r.until):
		if r.serials[c.SerialNumber.String()] {
			return now, fmt.Errorf("the certificate of %q is revoked", c.Subject)
		}
		if r.until.IsZero() {
			return c.NotAfter, nil
		}
		return r.until, nil
	default:
		return now, fmt.Errorf("the certificate revocation list of %q expired on %s",
			from.Subject, r.until.Format(time.RFC3339))
	}
}
