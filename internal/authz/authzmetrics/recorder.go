// Package authzmetrics tells the decisions of authz-broker in the terms of Prometheus.
package authzmetrics

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"palisade/internal/authz/audit"
	"palisade/internal/scrape"
)

// Sources are where numbers come from that others count.
type Sources struct {
	// Dropped is how many records the audit has lost.
	Dropped func() uint64
	// Loads is how often policies were loaded, and how often they could not be.
	Loads func() (loads, failures uint64)
}

// Auditor takes what was decided.
type Auditor interface{ Add(audit.Record) }

// Recorder counts what was decided before an Auditor gets it.
type Recorder struct {
	next      Auditor
	decisions *prometheus.CounterVec
	durations prometheus.Histogram
	faults    *prometheus.CounterVec
	policies  names
}

// The outcomes of a decision.
const (
	allowed = "allow"
	denied  = "deny"
	failed  = "error" // no policy could be asked
)

// bounds are those of the histogram, in seconds. An engine has its answer within one.
var bounds = []float64{25e-6, 50e-6, 100e-6, 250e-6, 1e-3, 5e-3, 25e-3, 100e-3, 250e-3, 500e-3, 1}

// New makes a Recorder in front of an Auditor, and registers its metrics.
func New(next Auditor, from Sources, registry prometheus.Registerer) (*Recorder, error) {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "palisade", Subsystem: "authz", Name: name, Help: help}, labels)
	}
	r := &Recorder{
		next:      next,
		decisions: counter("decisions_total", "Decisions, by the engine that asked, the policy that decided, and the outcome.", "engine", "policy", "outcome"),
		faults:    counter("errors_total", "Requests that were refused because no policy could be asked, by kind.", "kind"),
		durations: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "palisade", Subsystem: "authz", Name: "decision_duration_seconds",
			Help: "How long decisions took, from the head of the request on.", Buckets: bounds,
		}),
	}
	for _, fault := range audit.Faults {
		r.faults.WithLabelValues(string(fault))
	}
	for _, c := range append(from.collectors(), r.decisions, r.faults, r.durations, scrape.BuildInfo("authz-broker")) {
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
			Name: "palisade_authz_audit_dropped_total", Help: "Decisions that are missing in the audit.",
		}, func() float64 { return float64(s.Dropped()) }),
		loads("success", func() uint64 { n, _ := s.Loads(); return n }),
		loads("failure", func() uint64 { _, n := s.Loads(); return n }),
	}
}

// Add counts a decision and hands it on.
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

const (
	// maxNames bounds the policies that are told apart: a file may have thousands, and change.
	maxNames = 100
	// What stands for policies that are not named.
	noPolicy   = "none"    // none lists the user, or none was asked
	unnamed    = "unnamed" // the policy has no name
	manyOthers = "other"   // it has one, beyond maxNames
)

// names are those of policies that have decided something.
type names struct {
	mu    sync.Mutex
	known map[string]bool
}

// label is what a policy is called.
func (n *names) label(name string) string {
	if name == "" {
		return unnamed
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case n.known[name]:
	case len(n.known) >= maxNames:
		return manyOthers
	case n.known == nil:
		n.known = map[string]bool{name: true}
	default:
		n.known[name] = true
	}
	return name
}
