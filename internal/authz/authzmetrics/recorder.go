// Package authzmetrics counts the decisions of authz-broker for Prometheus.
package authzmetrics

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"palisade/internal/authz/audit"
	"palisade/internal/cli/scrape"
)

// Auditor records decisions.
type Auditor interface{ Add(audit.Record) }

// Recorder is an Auditor that counts decisions, and passes them on to another.
type Recorder struct {
	next      Auditor
	decisions *prometheus.CounterVec
	durations prometheus.Histogram
	faults    *prometheus.CounterVec

	mu sync.Mutex
	// policies are the names of the policies that have labels of their own.
	policies map[string]bool
}

// New returns a Recorder that passes decisions on to next, and registers its metrics. dropped
// returns the number of records that are missing in the audit log, loads how often the policy file
// was loaded and how often that failed.
func New(
	next Auditor, dropped func() uint64, loads func() (n, failures uint64),
	registry prometheus.Registerer,
) *Recorder {
	auto := promauto.With(registry)
	r := &Recorder{
		next: next, policies: make(map[string]bool),
		decisions: auto.NewCounterVec(prometheus.CounterOpts{
			Name: "palisade_authz_decisions_total",
			Help: "Decisions, by engine, policy and outcome.",
		}, []string{"engine", "policy", "outcome"}),
		faults: auto.NewCounterVec(prometheus.CounterOpts{
			Name: "palisade_authz_errors_total",
			Help: "Requests that were denied because they could not be decided by policy, by kind.",
		}, []string{"kind"}),
		durations: auto.NewHistogram(prometheus.HistogramOpts{
			Name: "palisade_authz_decision_duration_seconds",
			Help: "Duration of decisions, from the head of the request.",
			// In seconds. A decision takes at most one.
			Buckets: []float64{
				25e-6, 50e-6, 100e-6, 250e-6, 1e-3, 5e-3, 25e-3, 100e-3, 250e-3, 500e-3, 1,
			},
		}),
	}
	for _, fault := range audit.Faults {
		r.faults.WithLabelValues(string(fault))
	}
	auto.NewCounterFunc(prometheus.CounterOpts{
		Name: "palisade_authz_audit_dropped_total",
		Help: "Decisions that are missing in the audit log.",
	}, func() float64 { return float64(dropped()) })
	for result, count := range map[string]func() uint64{
		"success": func() uint64 { n, _ := loads(); return n },
		"failure": func() uint64 { _, n := loads(); return n },
	} {
		auto.NewCounterFunc(prometheus.CounterOpts{
			Name: "palisade_authz_policy_loads_total", Help: "Loads of the policy file, by result.",
			ConstLabels: prometheus.Labels{"result": result},
		}, func() float64 { return float64(count()) })
	}
	registry.MustRegister(scrape.BuildInfo("authz-broker"))
	return r
}

// Add counts a decision and passes it on.
func (r *Recorder) Add(record audit.Record) {
	outcome, policy := "deny", "none" // no policy lists the user, or none could decide
	switch {
	case record.Fault != audit.NoFault:
		outcome = "error"
		r.faults.WithLabelValues(string(record.Fault)).Inc()
	case record.Decision.Allow:
		outcome = "allow"
	}
	if p := record.Decision.Policy; p != nil && record.Fault == audit.NoFault {
		policy = r.label(p.Name)
	}
	r.decisions.WithLabelValues(string(record.Engine), policy, outcome).Inc()
	r.durations.Observe(record.Latency.Seconds())
	r.next.Add(record)
}

// maxPolicies bounds the policies with labels of their own: a file may have thousands, and change.
const maxPolicies = 100

// label returns the label for the policy with a name.
func (r *Recorder) label(name string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case name == "":
		return "unnamed"
	case !r.policies[name] && len(r.policies) >= maxPolicies:
		return "other"
	}
	r.policies[name] = true
	return name
}

// RegisterFront registers the metrics of a front. open returns the number of current requests and
// streams, failures the number of requests that the engine did not answer.
func RegisterFront(open func() int, failures func() uint64, registry prometheus.Registerer) {
	auto := promauto.With(registry)
	auto.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "palisade_front_open_requests",
		Help: "Requests that were forwarded to the engine and have not ended, with streams.",
	}, func() float64 { return float64(open()) })
	auto.NewCounterFunc(prometheus.CounterOpts{
		Name: "palisade_front_engine_failures_total",
		Help: "Requests that were forwarded, but not answered by the engine.",
	}, func() float64 { return float64(failures()) })
}
