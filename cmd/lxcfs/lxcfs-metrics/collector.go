package main

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"palisade/internal/lxcfs/meter"
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("palisade_lxcfs_"+name, help, labels, nil)
}

// The metrics, which docs/metrics.md describes.
var (
	requests = desc("requests_total",
		"Requests of the kernel that were answered, lookups and opens included.")
	reads = desc("read_duration_seconds",
		"How long the text of a file took to be made.", "file")
	fallbacks = desc("fallbacks_total",
		"Reads of containers that were answered with the host's file or an old text.", "file")
	errorCount = desc("errors_total", "Errors by kind.", "kind")
	containers = desc("containers",
		"Running containers that have read a file or were looked up in containers/.")
	triggers = desc("pressure_triggers", "Pressure triggers that are set.")
	replaced = desc("workers_replaced_total", "Workers that were replaced, by reason.", "reason")
	workerUp = desc("worker_up", "1 while a worker serves.")
)

// collector exports the counters of a Meter.
type collector struct{ meter *meter.Meter }

// Describe implements prometheus.Collector.
func (c collector) Describe(out chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, out) }

// Collect sends the counters, or an invalid metric, which makes the scrape fail, if a worker of
// another version counts.
func (c collector) Collect(out chan<- prometheus.Metric) {
	counts, err := c.meter.Counts()
	if err != nil {
		out <- prometheus.NewInvalidMetric(requests, fmt.Errorf("read counters: %w", err))
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
		out <- prometheus.MustNewConstHistogram(reads, f.Reads, f.Time.Seconds(), f.Buckets,
			file.String())
		counter(fallbacks, f.Fallbacks, file.String())
	}
	for kind, n := range counts.Errors {
		counter(errorCount, n, kind.String())
	}
	for reason, n := range counts.Replaced {
		counter(replaced, n, reason.String())
	}
	gauge(containers, counts.Containers)
	gauge(triggers, counts.Triggers)
	gauge(workerUp, counts.WorkerUp)
}
