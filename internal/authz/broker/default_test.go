package broker

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"strings"
	"testing"
)

// TestDefaultPolicy checks that the packages' file allows everything at Docker's unix socket, and
// nothing over the network.
func TestDefaultPolicy(t *testing.T) {
	text, err := os.ReadFile("../policy/default.json")
	if err != nil {
		t.Fatal(err)
	}
	f := serve(t, string(text))
	f.watch(t)
	nameless := [][]byte{namelessCertificate(t)}
	for _, c := range []struct {
		name  string
		r     authzRequest
		allow bool
	}{
		{"unix socket", authzRequest{}, true},
		{"TLS", authzRequest{User: "root", UserAuthNMethod: "TLS"}, false},
		{"a name without a method", authzRequest{User: "root"}, false},
		{"a method without a name", authzRequest{UserAuthNMethod: "TLS"}, false},
		{"a certificate without a name", authzRequest{RequestPeerCertificates: nameless}, false},
	} {
		c.r.RequestMethod, c.r.RequestURI = "POST", "/v1.44/containers/create"
		if got := f.ask(t, c.r); got.Allow != c.allow {
			t.Errorf("%s: %+v", c.name, got)
		}
	}
	// iSulad asks only about its TCP socket.
	if r, _ := f.raw(t, f.isulad, isuladBytes(":container_list")); r.StatusCode != 403 {
		t.Errorf("iSulad: %s", r.Status)
	}

	const warning = "the policy file is the unchanged default"
	if n := strings.Count(f.log.String(), warning); n != 1 {
		t.Errorf("warned %d times", n)
	}
	f.write(t, string(text)+"\n")
	waitFor(t, "the changed policies", func() bool { return !f.policies.Current().IsDefault() })
	f.write(t, string(text))
	waitFor(t, "another warning", func() bool { return strings.Count(f.log.String(), warning) == 2 })
}

// namelessCertificate returns a certificate without a CommonName and a group.
func namelessCertificate(t *testing.T) []byte {
	t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
