package broker

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"palisade/internal/authz/action"
	"palisade/internal/authz/audit"
	"palisade/internal/authz/policy"
)

// maxIsuladRequest is the size limit in bytes of a request of iSulad, "user:action".
const maxIsuladRequest = 64 << 10

// isulad answers iSulad. It takes 200 as permission and any other code as a denial, but follows
// redirects.
func (s *Server) isulad(w http.ResponseWriter, r *http.Request) {
	record := s.Decide(action.Isulad, time.Now(), func(*audit.Record) (Asked, error) {
		return parseIsulad(r.Body)
	})
	switch {
	case record.Fault == audit.Panic:
		writeCode(w, http.StatusInternalServerError)
	case record.Decision.Allow || s.DryRun:
		writeCode(w, http.StatusOK)
	default:
		writeCode(w, http.StatusForbidden)
	}
}

func parseIsulad(body io.Reader) (Asked, error) {
	text, err := io.ReadAll(io.LimitReader(body, maxIsuladRequest+1))
	// The name of a user may contain colons, that of an action does not.
	colon := bytes.LastIndexByte(text, ':')
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return Asked{}, errLate
	case err != nil:
		return Asked{}, fmt.Errorf("read the request: %w", err)
	case len(text) > maxIsuladRequest:
		return Asked{}, errors.New("the request is too large")
	case colon < 0:
		return Asked{}, errors.New("the request is not user:action")
	}
	a := action.ForIsulad(string(text[colon+1:]))
	return Asked{policy.Identity{User: string(text[:colon])}, policy.ActionRequest(a, nil)}, nil
}
