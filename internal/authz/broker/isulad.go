package broker

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"os"
	"time"

	"palisade/internal/authz/action"
	"palisade/internal/authz/policy"
)

// maxQuestion bounds what iSulad asks, in bytes: a user and an action.
const maxQuestion = 64 << 10

// isulad answers iSulad, which takes 200 for yes and all else for no. It follows redirects.
func (s *Server) isulad(w http.ResponseWriter, r *http.Request) {
	boundBody(w)
	switch {
	case r.RequestURI != "/isulad.auth":
		drain(r)
		writeCode(w, http.StatusNotFound)
	case r.Method != http.MethodPost:
		drain(r)
		writeCode(w, http.StatusMethodNotAllowed)
	default:
		writeCode(w, s.isuladRequest(w, r))
	}
}

// isuladRequest is the answer to "user:action".
func (s *Server) isuladRequest(w http.ResponseWriter, r *http.Request) (code int) {
	started := time.Now()
	record := newRecord(action.Isulad)
	defer func() {
		if cause := recover(); cause != nil {
			s.survive(record, cause, started)
			code = http.StatusInternalServerError
		}
	}()
	text, err := readQuestion(r)
	if err != nil {
		s.fault(record, err, started)
	} else {
		// A user's name may have colons, an action's has none.
		colon := bytes.LastIndexByte(text, ':')
		who := policy.Identity{User: string(text[:colon])}
		wanted := policy.ActionRequest(action.ForIsulad(string(text[colon+1:])), nil)
		record.Decision.User, record.Decision.Action = who.User, wanted.Action()
		s.settle(record, who, wanted, started)
	}
	if record.Decision.Allow || s.DryRun {
		return http.StatusOK
	}
	return http.StatusForbidden
}

func readQuestion(r *http.Request) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(r.Body, maxQuestion+1))
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, errLate
	case err != nil:
		return nil, err
	case len(text) > maxQuestion:
		return nil, errors.New("the request is too large")
	case bytes.LastIndexByte(text, ':') < 0:
		return nil, errors.New("the request is not user:action")
	}
	return text, nil
}
