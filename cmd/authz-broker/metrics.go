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

// metricsServer counts decisions and serves the metrics, if the user wants that. Its errors are
// logged, and do not affect decisions.
type metricsServer struct {
	options metrics.Options
	log     *slog.Logger
	// auditor takes the decisions: the audit log, or a recorder in front of it.
	auditor broker.Auditor
	server  *scrape.Server
	cancel  context.CancelFunc
	running sync.WaitGroup
}

func newMetricsServer(
	o metrics.Options, policies *broker.Policies, records *audit.Log, log *slog.Logger,
) *metricsServer {
	m := &metricsServer{options: o, log: log, auditor: records}
	if !o.Enabled() {
		return m
	}
	registry := prometheus.NewRegistry()
	m.auditor = authzmetrics.New(records, records.Dropped, policies.Loads, registry)
	m.server = scrape.New(registry)
	return m
}

// start serves the metrics in the background until stop.
func (m *metricsServer) start(ctx context.Context) {
	if m.server == nil {
		return
	}
	ctx, m.cancel = context.WithCancel(ctx)
	m.running.Go(func() { metrics.Retry(ctx, m.log, nil, m.serve) })
}

// serve listens and serves until the server is closed.
func (m *metricsServer) serve(ctx context.Context) error {
	listeners, err := m.options.Listen(ctx, m.log)
	if err != nil {
		return err
	}
	served := make(chan error)
	for _, l := range listeners {
		m.log.Info("metrics are served", "at", l.Addr().String())
		go func() { served <- m.server.Serve(l) }()
	}
	for range listeners {
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			m.log.Error(metrics.NotServed, "err", err) // the other listener may still work
		}
	}
	return nil
}

// stop closes the listeners and removes the socket.
func (m *metricsServer) stop() {
	if m.server == nil {
		return
	}
	m.cancel()
	if err := m.server.Close(); err != nil {
		m.log.Warn("close the metrics server", "err", err)
	}
	m.running.Wait()
}
