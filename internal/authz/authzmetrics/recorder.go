// Package authzmetrics counts the decisions of authz-broker for Prometheus.
package authzmetrics

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"palisade/internal/authz/audit"
	"palisade/internal/cli/scrape"
)

// Sources returns the counters of other packages.
type Sources struct {
	// Dropped returns the number of records that are missing in the audit log.
	Dropped func() uint64
	// Loads returns how often the policy file was loaded, and how often that failed.
	Loads func() (loads, failures uint64)
}

// Auditor records decisions.
type Auditor interface{ Add(audit.Record) }

// Recorder is an Auditor that counts decisions, and passes them on to another.
type Recorder struct {
	next      Auditor
	decisions *prometheus.CounterVec
	durations prometheus.Histogram
	faults    *prometheus.CounterVec
	policies  policyLabels
}

// The outcomes of a decision.
const (
	allowed = "allow"
	denied  = "deny"
	failed  = "error" // the request could not be decided by policy
)

// durationBuckets are in seconds. A decision takes at most one.
var durationBuckets = []float64{
	25e-6, 50e-6, 100e-6, 250e-6, 1e-3, 5e-3, 25e-3, 100e-3, 250e-3, 500e-3, 1,
}

// New returns a Recorder that passes decisions on to next, and registers its metrics.
func New(next Auditor, from Sources, registry prometheus.Registerer) (*Recorder, error) {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	r := &Recorder{
		next: next,
		decisions: counter("palisade_authz_decisions_total",
			"Decisions, by engine, policy and outcome.", "engine", "policy", "outcome"),
		faults: counter("palisade_authz_errors_total",
			"Requests that were denied because they could not be decided by policy, by kind.", "kind"),
		durations: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "palisade_authz_decision_duration_seconds",
			Help:    "Duration of decisions, from the head of the request.",
			Buckets: durationBuckets,
		}),
	}
	for _, fault := range audit.Faults {
		r.faults.WithLabelValues(string(fault))
	}
	own := []prometheus.Collector{
		r.decisions, r.faults, r.durations, scrape.BuildInfo("authz-broker"),
	}
	for _, c := range append(own, from.collectors()...) {
		if err := registry.Register(c); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func (s Sources) collectors() []prometheus.Collector {
	loads := func(result string, n func() uint64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "palisade_authz_policy_loads_total", Help: "Loads of the policy file, by result.",
			ConstLabels: prometheus.Labels{"result": result},
		}, func() float64 { return float64(n()) })
	}
	return []prometheus.Collector{
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "palisade_authz_audit_dropped_total", Help: "Decisions that are missing in the audit log.",
		}, func() float64 { return float64(s.Dropped()) }),
		loads("success", func() uint64 { n, _ := s.Loads(); return n }),
		loads("failure", func() uint64 { _, n := s.Loads(); return n }),
	}
}

// Add counts a decision and passes it on.
func (r *Recorder) Add(record audit.Record) {
	outcome, policy := denied, noPolicy
	switch {
	case record.Fault != audit.NoFault:
		outcome = failed
		r.faults.WithLabelValues(string(record.Fault)).Inc()
	case record.Decision.Allow:
		outcome = allowed
	}
	if p := record.Decision.Policy; p != nil && record.Fault == audit.NoFault {
		policy = r.policies.label(p.Name)
	}
	r.decisions.WithLabelValues(string(record.Engine), policy, outcome).Inc()
	r.durations.Observe(record.Latency.Seconds())
	r.next.Add(record)
}

// maxPolicies bounds the policies with labels of their own: a file may have thousands, and change.
const maxPolicies = 100

// Labels for policies that are not named.
const (
	noPolicy      = "none"    // no policy lists the user, or none could decide
	unnamedPolicy = "unnamed" // the policy has no name
	otherPolicy   = "other"   // the policy is beyond maxPolicies
)

// policyLabels remembers the names of the policies that have labels of their own.
type policyLabels struct {
	mu    sync.Mutex
	names map[string]bool
}

// label returns the label for the policy with a name.
func (l *policyLabels) label(name string) string {
	if name == "" {
		return unnamedPolicy
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.names[name] {
		if len(l.names) >= maxPolicies {
			return otherPolicy
		}
		if l.names == nil {
			l.names = make(map[string]bool)
		}
		l.names[name] = true
	}
	return name
}
