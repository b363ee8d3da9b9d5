package broker

import (
	"fmt"
	"net/http"
	"time"

	"palisade/internal/authz/action"
	"palisade/internal/authz/audit"
	"palisade/internal/authz/policy"
)

func activate(w http.ResponseWriter, r *http.Request) {
	drain(r)
	write(w, activated)
}

// answerResponse allows an answer of the engine: it has already carried out the request.
func answerResponse(w http.ResponseWriter, r *http.Request) {
	answer := func() { write(w, allowed) }
	if readInTime(w, answer, func() { drain(r) }) {
		answer()
	}
}

func (s *Server) answerRequest(w http.ResponseWriter, r *http.Request) {
	started := time.Now()
	var text []byte
	var err error
	release := func() {}
	defer func() { release() }() // also after a panic
	late := func() { write(w, s.dockerAnswer(nil, errLate, started)) }
	if readInTime(w, late, func() { text, release, err = readBody(r, s.large) }) {
		write(w, s.dockerAnswer(text, err, started))
	}
}

// dockerAnswer decides a request, given its text or the error from reading it, and returns the
// answer.
func (s *Server) dockerAnswer(text []byte, err error, started time.Time) []byte {
	record := s.Decide(action.Docker, started, func(record *audit.Record) (Asked, error) {
		if err != nil {
			return Asked{}, err
		}
		return parseDocker(text, record)
	})
	if record.Decision.Allow || s.DryRun {
		return allowed
	}
	if p := record.Decision.Policy; p != nil && p.Message != "" && record.Problem == "" {
		return denied(p.Message)
	}
	return denied(record.Reason())
}

// parseDocker parses a request, and adds to the record what the engine says about it.
func parseDocker(text []byte, record *audit.Record) (p Asked, err error) {
	asked, err := decodeRequest(text)
	if err != nil {
		return p, err
	}
	record.Decision.User = asked.User.Value // for the audit of a panic below
	record.AuthMethod = asked.UserAuthNMethod.Value
	record.Method, record.URI = asked.RequestMethod.Value, asked.RequestURI.Value
	body, bodyErr := asked.body()
	p.Request = policy.DockerRequest(record.Method, record.URI, body)
	if p.Identity, err = identify(asked); err != nil {
		return p, err
	}
	if bodyErr != nil {
		return p, fmt.Errorf("decode the request's body: %w", bodyErr)
	}
	return p, nil
}
