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

// isuladQuestion is what iSulad sends.
var isuladQuestion = []byte("POST /isulad.auth HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\nContent-Type: application/json\r\n" +
	"Content-Length: 20\r\n\r\nalice:container_list")

// questions are what dockerd sends for docker ps of alice, without her certificate and with it.
func questions(dir string) (plain, tls []byte, err error) {
	if _, err := certs.Create(certs.Request{Dir: filepath.Join(dir, "certs"), Clients: []string{"alice"}, Valid: time.Hour}); err != nil {
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
	question := map[string]any{
		"User": "alice", "UserAuthNMethod": "TLS", "RequestMethod": "GET", "RequestUri": "/v1.41/containers/json?all=1&limit=5",
		"RequestHeaders": map[string]string{"User-Agent": "Docker-Client/20.10.24+dfsg1 (linux)"},
	}
	if plain, err = post(question); err != nil {
		return nil, nil, err
	}
	question["RequestPeerCertificates"] = [][]byte{text}
	tls, err = post(question)
	return plain, tls, err
}

func post(question any) ([]byte, error) {
	body, err := json.Marshal(question)
	return fmt.Appendf(nil, "POST /AuthZPlugin.AuthZReq HTTP/1.1\r\nHost: plugin.moby.localhost\r\nUser-Agent: Go-http-client/1.1\r\n"+
		"Content-Length: %d\r\nAccept: application/vnd.docker.plugins.v1.2+json\r\nAccept-Encoding: gzip\r\n\r\n%s", len(body), body), err
}

// result is that of a round.
type result struct {
	rate     float64 // a second
	p50, p99 time.Duration
}

func median(all []result) result {
	slices.SortFunc(all, func(a, b result) int { return int(a.rate - b.rate) })
	return all[len(all)/2]
}
