package main

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"palisade/internal/authz/audit"
	"palisade/internal/authz/authzmetrics"
	"palisade/internal/authz/broker"
	"palisade/internal/cli/metrics"
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
	server := scrape.New(registry)
	return recorder, registry, func(ctx context.Context) {
		var running sync.WaitGroup
		running.Go(func() {
			metrics.Retry(ctx, log, nil, func(ctx context.Context) error {
				return o.serveMetrics(ctx, server, log)
			})
		})
		<-ctx.Done()
		if err := server.Close(); err != nil {
			log.Warn("close the metrics server", "err", err)
		}
		running.Wait()
	}
}

// serveMetrics listens and serves until the server is closed.
func (o *serveOptions) serveMetrics(
	ctx context.Context, server *scrape.Server, log *slog.Logger,
) error {
	listeners, err := o.metrics.Listen(ctx, log)
	if err != nil {
		return err
	}
	served := make(chan error)
	for _, l := range listeners {
		log.Info("metrics are served", "at", l.Addr().String())
		go func() { served <- server.Serve(l) }()
	}
	for range listeners {
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			log.Error(metrics.NotServed, "err", err) // the other listener may still work
		}
	}
	return nil
}
