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

// TestDefaultPolicy serves the file of the packages: the unix socket of Docker has everything, the network nothing.
func TestDefaultPolicy(t *testing.T) {
	text, err := os.ReadFile("../policy/default.json")
	if err != nil {
		t.Fatal(err)
	}
	f := serve(t, string(text))
	f.watch(t)
	for _, c := range []struct {
		name  string
		q     question
		allow bool
	}{
		{"unix socket", question{}, true},
		{"TLS", question{User: "root", UserAuthNMethod: "TLS"}, false},
		{"a name without a method", question{User: "root"}, false},
		{"a method without a name", question{UserAuthNMethod: "TLS"}, false},
		{"a certificate without a name", question{RequestPeerCertificates: [][]byte{namelessCertificate(t)}}, false},
	} {
		c.q.RequestMethod, c.q.RequestURI = "POST", "/v1.44/containers/create"
		if got := f.ask(t, c.q); got.Allow != c.allow {
			t.Errorf("%s: %+v", c.name, got)
		}
	}
	// iSulad asks about its TCP socket only, with the name that the client gives itself.
	if r, _ := raw(t, f.isulad, isuladBytes(":container_list")); r.StatusCode != 403 {
		t.Errorf("iSulad gets %s", r.Status)
	}

	const warning = "the policies are those of the package, unchanged"
	if n := strings.Count(f.log.String(), warning); n != 1 {
		t.Errorf("warned %d times", n)
	}
	f.write(t, string(text)+"\n")
	waitFor(t, "the change holds", func() bool { return !f.policies.Current().IsDefault() })
	f.write(t, string(text))
	waitFor(t, "it is warned again", func() bool { return strings.Count(f.log.String(), warning) == 2 })
}

// namelessCertificate is one with neither a CommonName nor a group.
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
