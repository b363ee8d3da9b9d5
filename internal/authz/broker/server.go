package broker

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"time"

	"palisade/internal/authz/action"
	"palisade/internal/authz/audit"
	"palisade/internal/authz/policy"
)

// Auditor records decisions. Add must not block.
type Auditor interface{ Add(audit.Record) }

// Config configures a Server.
type Config struct {
	Policies *Policies
	Audit    Auditor
	Log      *slog.Logger
	// DryRun allows all requests, but audits what the policies decide.
	DryRun bool
}

// Server answers engines.
type Server struct {
	Config
	large   chan struct{} // limits the large requests in memory
	servers map[action.Engine]*http.Server
}

type parsed struct {
	caller  policy.Identity
	request policy.Request
}

// decide decides a request by policy, audits the decision and returns its record. parse returns the
// request, and can add details to the record. The request is denied if parse returns an error, and
// in case of a panic.
func (s *Server) decide(
	engine action.Engine, started time.Time, parse func(*audit.Record) (parsed, error),
) (r *audit.Record) {
	r = &audit.Record{Time: started, Engine: engine, DryRun: s.DryRun}
	defer func() {
		if cause := recover(); cause != nil {
			s.recoverPanic(r, cause)
		}
	}()
	p, err := parse(r)
	r.Decision = policy.Decision{User: p.caller.User, Action: p.request.Action()}
	switch {
	case err == nil:
		r.Decision = s.Policies.Current().Decide(p.caller, p.request)
	case errors.Is(err, errLate):
		r.Problem, r.Fault = err.Error(), audit.Late
	default:
		r.Problem, r.Fault = err.Error(), audit.Malformed
	}
	s.audit(r)
	return r
}

func (s *Server) audit(r *audit.Record) {
	r.Latency = time.Since(r.Time)
	s.Audit.Add(*r)
}

// recoverPanic denies a request after a panic, which may come from the auditor as well.
func (s *Server) recoverPanic(r *audit.Record, cause any) {
	r.Decision.Allow, r.Fault = false, audit.Panic
	r.Problem = fmt.Sprintf("internal error in authz-broker: %v", cause)
	s.Log.Error("request denied after a panic", "err", cause, "stack", string(debug.Stack()))
	defer func() {
		if again := recover(); again != nil {
			s.Log.Error("cannot audit a denied request", "err", again)
		}
	}()
	s.audit(r)
}
