// Package audit writes decisions as lines of JSON, without delaying them.
package audit

import (
	"strings"
	"time"

	"palisade/internal/authz/action"
	"palisade/internal/authz/policy"
)

// Record is a decision, with the request as the engine describes it.
type Record struct {
	Time   time.Time
	Engine action.Engine
	// AuthMethod is "TLS" or "", at a front also "unix", "container" or "socket".
	AuthMethod string
	// Method and URI are those of HTTP. At a front of iSulad, Method is that of gRPC and URI is
	// empty. iSulad passes neither to its plug-in.
	Method, URI string
	Decision    policy.Decision
	// Problem is the reason to deny a request that could not be decided by policy.
	Problem string
	// Fault is the kind of Problem.
	Fault Fault
	// DryRun reports that the request was allowed whatever the decision.
	DryRun  bool
	Latency time.Duration
}

// Fault is a kind of failure to decide a request by policy.
type Fault string

// The faults.
const (
	NoFault   Fault = ""        // decided by policy
	Late      Fault = "late"    // the request did not arrive in time
	Malformed Fault = "request" // the request could not be read or parsed, or is too large
	Panic     Fault = "panic"   // a bug in this program
)

// Faults lists all faults except NoFault.
var Faults = []Fault{Late, Malformed, Panic}

// Reason returns the decision and its reason as a message.
func (r *Record) Reason() string {
	if r.Problem != "" {
		return r.Problem
	}
	return r.Decision.Explain()
}

// line is the JSON form of a record.
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
		Time:       r.Time.UTC().Format("2006-01-02T15:04:05.000000Z"),
		Engine:     string(r.Engine),
		User:       r.Decision.User,
		AuthMethod: r.AuthMethod,
		Method:     r.Method,
		URI:        redactURI(r.URI),
		Action:     r.Decision.Action.Name,
		Allow:      r.Decision.Allow,
		DryRun:     r.DryRun,
		Reason:     r.Reason(),
		LatencyUS:  r.Latency.Microseconds(),
	}
	if p := r.Decision.Policy; p != nil {
		l.Policy, l.Line = p.Name, p.Line
	}
	return l
}

// Limits in bytes of the strings in a record that a user chooses.
const (
	maxURI  = 2048
	maxName = 256
)

// truncated returns the record with bounded strings, so that the queue has bounded memory.
func (r Record) truncated() Record {
	r.URI = truncate(r.URI, maxURI)
	d := &r.Decision
	for _, text := range []*string{
		&d.User, &d.Action.Name, &d.Detail, &r.AuthMethod, &r.Method, &r.Problem,
	} {
		*text = truncate(*text, maxName)
	}
	return r
}

func truncate(text string, n int) string {
	if len(text) <= n {
		return text
	}
	return strings.ToValidUTF8(text[:n], "") + "..."
}
