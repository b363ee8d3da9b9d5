// Package audit writes what was decided, one JSON object a line, in a way that no decision waits for.
package audit

import (
	"strings"
	"time"

	"palisade/internal/authz/action"
	"palisade/internal/authz/policy"
)

// Record is a decision, with the request as described by the engine.
type Record struct {
	Time   time.Time
	Engine action.Engine
	// AuthMethod is the engine's authentication method, "TLS" or "".
	AuthMethod string
	// Method and URI are those of the request to Docker; iSulad has none.
	Method, URI string
	Decision    policy.Decision
	// Problem is why a request is refused of which no policy was asked, Fault what kind of problem that is.
	Problem string
	Fault   Fault
	// DryRun tells that the request was allowed whatever the decision.
	DryRun  bool
	Latency time.Duration
}

// Fault is why no policy could be asked.
type Fault string

// The faults. NoFault is that of a request that a policy has decided, or that none lists the user of.
const (
	NoFault Fault = ""
	// Late: the request did not arrive in time.
	Late Fault = "late"
	// Malformed: it could not be read or understood, or is too large.
	Malformed Fault = "request"
	// Mistake: it was ended by a mistake in this program.
	Mistake Fault = "panic"
)

// Faults are all but NoFault.
var Faults = []Fault{Late, Malformed, Mistake}

// Reason is the decision in words.
func (r *Record) Reason() string {
	if r.Problem != "" {
		return r.Problem
	}
	return r.Decision.Explain()
}

// line is a record as it is written.
type line struct {
	Time       string `json:"time"`
	Engine     string `json:"engine"`
	User       string `json:"user"`
	AuthMethod string `json:"auth_method"`
	Method     string `json:"method,omitempty"`
	URI        string `json:"uri,omitempty"`
	Action     string `json:"action"`
	Policy     string `json:"policy"`
	Line       int    `json:"line"`
	Allow      bool   `json:"allow"`
	DryRun     bool   `json:"dry_run,omitempty"`
	Reason     string `json:"reason"`
	LatencyUS  int64  `json:"latency_us"`
}

func (r *Record) line() line {
	l := line{
		Time: r.Time.UTC().Format("2006-01-02T15:04:05.000000Z"), Engine: string(r.Engine),
		User: r.Decision.User, AuthMethod: r.AuthMethod, Method: r.Method, URI: withoutSecrets(r.URI),
		Action: r.Decision.Action.Name, Allow: r.Decision.Allow, DryRun: r.DryRun,
		Reason: r.Reason(), LatencyUS: r.Latency.Microseconds(),
	}
	if p := r.Decision.Policy; p != nil {
		l.Policy, l.Line = p.Name, p.Line
	}
	return l
}

// Bounds of what a record keeps of texts that a user chooses, in bytes.
const (
	maxURI  = 2048
	maxName = 256
)

// bounded is the record without what is too long to keep in memory.
func (r Record) bounded() Record {
	r.URI = cut(r.URI, maxURI)
	d := &r.Decision
	for _, text := range []*string{
		&d.User, &d.Action.Name, &d.Detail, &r.AuthMethod, &r.Method, &r.Problem,
	} {
		*text = cut(*text, maxName)
	}
	return r
}

func cut(text string, n int) string {
	if len(text) <= n {
		return text
	}
	return strings.ToValidUTF8(text[:n], "") + "..."
}
