// Package lxcfsmetrics tells the counters of lxcfs in the terms of Prometheus.
package lxcfsmetrics

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"palisade/internal/meter"
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("palisade_lxcfs_"+name, help, labels, nil)
}

// The metrics. What they mean is told in docs/metrics.md.
var (
	requests   = desc("requests_total", "Requests of the kernel that were answered, lookups and opens included.")
	reads      = desc("read_duration_seconds", "How long the text of a file took to be made.", "file")
	fallbacks  = desc("fallbacks_total", "Reads of containers that were answered with the host's file or an old text.", "file")
	faults     = desc("errors_total", "Errors by kind.", "kind")
	containers = desc("containers", "Containers that run and are known: they have read a file, or somebody has looked at them.")
	triggers   = desc("pressure_triggers", "Pressure triggers that are set.")
	replaced   = desc("workers_replaced_total", "Workers that were replaced, by reason.", "reason")
	up         = desc("worker_up", "1 while a worker serves.")
)

// Collector collects the counters of a Meter whenever it is asked.
type Collector struct{ Meter *meter.Meter }

var _ prometheus.Collector = Collector{}

// Describe sends what there is.
func (Collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{requests, reads, fallbacks, faults, containers, triggers, replaced, up} {
		out <- d
	}
}

// Collect sends the counters. Those of a worker of another version are an error, of which the answer tells.
func (c Collector) Collect(out chan<- prometheus.Metric) {
	counts, err := c.Meter.Counts()
	if err != nil {
		out <- prometheus.NewInvalidMetric(requests, fmt.Errorf("read the counters: %w", err))
		return
	}
	counter := func(d *prometheus.Desc, n uint64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
	}
	gauge := func(d *prometheus.Desc, n uint64) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(n))
	}
	counter(requests, counts.Requests)
	for file, f := range counts.Files {
		out <- prometheus.MustNewConstHistogram(reads, f.Reads, f.Time.Seconds(), f.ByBound(), file.String())
		counter(fallbacks, f.Fallbacks, file.String())
	}
	for kind, n := range counts.Errors {
		counter(faults, n, kind.String())
	}
	for reason, n := range counts.Replaced {
		counter(replaced, n, reason.String())
	}
	gauge(containers, counts.Containers)
	gauge(triggers, counts.Triggers)
	var isUp uint64
	if counts.WorkerUp {
		isUp = 1
	}
	gauge(up, isUp)
}
