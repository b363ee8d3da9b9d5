package main

import (
	"context"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"palisade/internal/authz/audit"
	"palisade/internal/authz/authzmetrics"
	"palisade/internal/authz/broker"
	"palisade/internal/cli/scrape"
)

// newMetrics returns the auditor of decisions, which is the audit log or a recorder in front of it,
// a registry for further metrics, and a function that serves the metrics, if they are enabled,
// until its context ends. Errors are logged, and do not affect decisions.
func (o *serveOptions) newMetrics(
	policies *broker.Policies, records *audit.Log, log *slog.Logger,
) (auditor broker.Auditor, registry *prometheus.Registry, serve func(context.Context)) {
	registry = prometheus.NewRegistry()
	if !o.metrics.Enabled() {
		return records, registry, func(context.Context) {}
	}
	recorder := authzmetrics.New(records, records.Dropped, policies.Loads, registry)
	server := scrape.New(registry, nil)
	return recorder, registry, func(ctx context.Context) { server.Run(ctx, &o.metrics, log) }
}
