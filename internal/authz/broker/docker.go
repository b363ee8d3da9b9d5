package broker

import (
	"fmt"
	"io"
	"net/http"
	"time"

	"palisade/internal/authz/action"
	"palisade/internal/authz/audit"
	"palisade/internal/authz/policy"
)

// docker answers the Docker Engine (moby, pkg/plugins and pkg/authorization).
func (s *Server) docker(w http.ResponseWriter, r *http.Request) {
	boundBody(w)
	if r.Method != http.MethodPost {
		drain(r)
		writeCode(w, http.StatusMethodNotAllowed)
		return
	}
	switch r.RequestURI {
	case "/Plugin.Activate":
		drain(r)
		write(w, activated)
	case "/AuthZPlugin.AuthZReq":
		s.answerRequest(w, r)
	case "/AuthZPlugin.AuthZRes":
		// The request was allowed and has been carried out: there is nothing left to decide.
		answer := func() { write(w, allowed) }
		if inTime(w, r, answer, func() { io.Copy(io.Discard, r.Body) }) { // whatever it was
			answer()
		}
	default:
		drain(r)
		writeCode(w, http.StatusNotFound)
	}
}

func (s *Server) answerRequest(w http.ResponseWriter, r *http.Request) {
	started := time.Now()
	var text []byte
	var err error
	free := func() {}
	late := func() { write(w, s.dockerRequest(nil, errLate, started)) }
	if inTime(w, r, late, func() { text, free, err = s.readBody(r) }) {
		write(w, s.dockerRequest(text, err, started))
	}
	free()
}

// dockerRequest is the answer to a request that was read, or not. Whatever happens, there is one.
func (s *Server) dockerRequest(text []byte, err error, started time.Time) (answer []byte) {
	record := newRecord(action.Docker)
	defer func() {
		if cause := recover(); cause != nil {
			s.survive(record, cause, started)
			answer = s.answerTo(record)
		}
	}()
	if err != nil {
		return s.refuse(record, err, started)
	}
	asked, err := decodeRequest(text)
	if err != nil {
		return s.refuse(record, err, started)
	}
	record.AuthMethod = asked.UserAuthNMethod.Value
	record.Method, record.URI = asked.RequestMethod.Value, asked.RequestURI.Value
	body, bodyErr := asked.body()
	wanted := policy.DockerRequest(record.Method, record.URI, body)
	record.Decision.User, record.Decision.Action = asked.User.Value, wanted.Action()
	who, err := s.identities.identify(asked)
	if err != nil {
		return s.refuse(record, err, started)
	}
	if bodyErr != nil {
		return s.refuse(record, fmt.Errorf("read the request's body: %w", bodyErr), started)
	}
	s.settle(record, who, wanted, started)
	return s.answerTo(record)
}

// refuse denies a request of which no policy can be asked.
func (s *Server) refuse(record *audit.Record, err error, started time.Time) []byte {
	s.fault(record, err, started)
	return s.answerTo(record)
}

// answerTo is the answer to a request that was decided.
func (s *Server) answerTo(record *audit.Record) []byte {
	if record.Decision.Allow || s.DryRun {
		return allowed
	}
	if p := record.Decision.Policy; p != nil && p.Message != "" && record.Problem == "" {
		return denied(p.Message)
	}
	return denied(record.Reason())
}
