package scrape

import (
	"github.com/prometheus/client_golang/prometheus"

	"palisade/internal/cli/version"
)

// BuildInfo returns a metric with the program's version as a label.
func BuildInfo(program string) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "palisade_build_info", Help: "1, for the version of the program.",
		ConstLabels: prometheus.Labels{"program": program, "version": version.String()},
	}, func() float64 { return 1 })
}
