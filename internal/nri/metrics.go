package nri

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"palisade/internal/cli/scrape"
	"palisade/internal/inject/probe"
	"palisade/internal/inject/toolkit"
)

// agentMetrics are the counters of an Agent.
type agentMetrics struct {
	starts            prometheus.Histogram
	served, failed    prometheus.Counter
	skipped, remounts *prometheus.CounterVec
}

// newMetrics registers the metrics of an Agent, which docs/metrics.md describes.
func newMetrics(a *Agent, registry prometheus.Registerer) agentMetrics {
	auto := promauto.With(registry)
	started := auto.NewCounterVec(prometheus.CounterOpts{
		Name: "palisade_nri_starts_total",
		Help: "Containers that were started with the files of lxcfs, or failed to get them, by result.",
	}, []string{"result"})
	m := agentMetrics{
		served: started.WithLabelValues("served"), failed: started.WithLabelValues("failed"),
		starts: auto.NewHistogram(prometheus.HistogramOpts{
			Name: "palisade_nri_start_duration_seconds",
			Help: "Time for which the start of a container was delayed.",
			// In seconds. A runtime waits for two.
			Buckets: []float64{5e-3, 10e-3, 25e-3, 50e-3, 100e-3, 250e-3, 500e-3, 1, 1.5, 2},
		}),
		skipped: auto.NewCounterVec(prometheus.CounterOpts{
			Name: "palisade_nri_skipped_total",
			Help: "Containers that get no files, by the reason.",
		}, []string{"reason"}),
		remounts: auto.NewCounterVec(prometheus.CounterOpts{
			Name: "palisade_nri_remounts_total",
			Help: "Running containers in which files were mounted or unmounted, by command and outcome.",
		}, []string{"command", "outcome"}),
	}
	for _, reason := range skipReasons {
		m.skipped.WithLabelValues(reason)
	}
	for _, command := range []string{remount, umount} {
		for _, outcome := range []toolkit.Outcome{toolkit.Done, toolkit.Failed} {
			m.remounts.WithLabelValues(command, string(outcome))
		}
	}
	gauge := func(name, help string, labels prometheus.Labels, value func() int) {
		auto.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "palisade_nri_" + name, Help: help, ConstLabels: labels,
		}, func() float64 {
			a.mu.Lock()
			defer a.mu.Unlock()
			return float64(value())
		})
	}
	gauge("containers", "Running containers that get the files of lxcfs.", nil,
		func() int { return len(a.containers) })
	for _, socket := range a.Sockets {
		gauge("runtime_connected", "1 while the container runtime at the socket is connected.",
			prometheus.Labels{"socket": socket}, func() int { return toInt(a.connected[socket]) })
	}
	for _, state := range []probe.State{
		probe.Healthy, probe.Wedged, probe.Dead, probe.NotMounted,
	} {
		gauge("lxcfs_state", "1 for the state of lxcfs.", prometheus.Labels{"state": string(state)},
			func() int { return toInt(a.lxcfs == state) })
	}
	registry.MustRegister(scrape.BuildInfo("palisade-nri"))
	return m
}

func toInt(b bool) int {
	if b {
		return 1
	}
	return 0
}
