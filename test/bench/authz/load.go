package main

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"palisade/internal/authz/certs"
)

// isuladRequest is a request of iSulad.
var isuladRequest = []byte("POST /isulad.auth HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n" +
	"Content-Type: application/json\r\nContent-Length: 20\r\n\r\nalice:container_list")

// dockerRequests returns dockerd's request for docker ps of alice, without and with her
// certificate.
func dockerRequests(dir string) (plain, tls []byte, err error) {
	request := certs.Request{
		Dir: filepath.Join(dir, "certs"), Clients: []string{"alice"}, Valid: time.Hour,
	}
	if _, err := certs.Create(request); err != nil {
		return nil, nil, err
	}
	text, err := os.ReadFile(filepath.Join(dir, "certs/alice/cert.pem"))
	if err != nil {
		return nil, nil, err
	}
	block, _ := pem.Decode(text)
	if _, err := x509.ParseCertificate(block.Bytes); err != nil {
		return nil, nil, err
	}
	body := map[string]any{
		"User": "alice", "UserAuthNMethod": "TLS", "RequestMethod": "GET",
		"RequestUri":     "/v1.41/containers/json?all=1&limit=5",
		"RequestHeaders": map[string]string{"User-Agent": "Docker-Client/20.10.24+dfsg1 (linux)"},
	}
	if plain, err = post(body); err != nil {
		return nil, nil, err
	}
	body["RequestPeerCertificates"] = [][]byte{text}
	tls, err = post(body)
	return plain, tls, err
}

func post(body any) ([]byte, error) {
	text, err := json.Marshal(body)
	return fmt.Appendf(nil, "POST /AuthZPlugin.AuthZReq HTTP/1.1\r\n"+
		"Host: plugin.moby.localhost\r\nUser-Agent: Go-http-client/1.1\r\n"+
		"Content-Length: %d\r\nAccept: application/vnd.docker.plugins.v1.2+json\r\n"+
		"Accept-Encoding: gzip\r\n\r\n%s", len(text), text), err
}

// result is the result of a round.
type result struct {
	rate     float64 // per second
	p50, p99 time.Duration
}

func median(all []result) result {
	slices.SortFunc(all, func(a, b result) int { return int(a.rate - b.rate) })
	return all[len(all)/2]
}
