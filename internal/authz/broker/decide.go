package broker

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"palisade/internal/authz/action"
	"palisade/internal/authz/audit"
	"palisade/internal/authz/policy"
)

// Auditor records decisions. Add must not block.
type Auditor interface{ Add(audit.Record) }

// Decider decides requests by policy, and audits the decisions.
type Decider struct {
	Policies *Policies
	Audit    Auditor
	Log      *slog.Logger
	// DryRun allows all requests, but audits what the policies decide.
	DryRun bool
	// Learn, if not nil, is called with each request that could be parsed, after its decision.
	Learn func(Asked, *audit.Record)
}

// Asked is a request and its client.
type Asked struct {
	policy.Identity
	policy.Request
}

// Late is the error for a request that did not arrive in time.
type Late string

// Error implements error.
func (l Late) Error() string { return string(l) }

// Decide decides a request by policy, audits the decision and returns its record. parse returns the
// request, and can add details to the record. The request is denied if parse returns an error, and
// in case of a panic.
func (d Decider) Decide(
	engine action.Engine, started time.Time, parse func(*audit.Record) (Asked, error),
) (r *audit.Record) {
	r = &audit.Record{Time: started, Engine: engine, DryRun: d.DryRun}
	defer func() {
		if cause := recover(); cause != nil {
			d.recoverPanic(r, cause)
		}
	}()
	asked, err := parse(r)
	r.Decision = policy.Decision{User: asked.Name(), Action: asked.Action()}
	var late Late
	switch {
	case err == nil:
		r.Decision = d.Policies.Current().Decide(asked.Identity, asked.Request)
	case errors.As(err, &late):
		r.Problem, r.Fault = err.Error(), audit.Late
	default:
		r.Problem, r.Fault = err.Error(), audit.Malformed
	}
	d.audit(r)
	if d.Learn != nil && err == nil {
		d.Learn(asked, r)
	}
	return r
}

func (d Decider) audit(r *audit.Record) {
	r.Latency = time.Since(r.Time)
	d.Audit.Add(*r)
}

// recoverPanic denies a request after a panic, which may come from the auditor as well.
func (d Decider) recoverPanic(r *audit.Record, cause any) {
	r.Decision.Allow, r.Fault = false, audit.Panic
	r.Problem = fmt.Sprintf("internal error in authz-broker: %v", cause)
	d.Log.Error("request denied after a panic", "err", cause, "stack", string(debug.Stack()))
	defer func() {
		if again := recover(); again != nil {
			d.Log.Error("cannot audit a denied request", "err", again)
		}
	}()
	d.audit(r)
}
