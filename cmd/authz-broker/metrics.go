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
	"palisade/internal/metrics"
	"palisade/internal/scrape"
)

// telling is what has metrics told.
type telling struct {
	options metrics.Options
	log     *slog.Logger
	// auditor is who takes decisions: the audit, behind what counts them, where they are counted.
	auditor broker.Auditor
	server  *scrape.Server
	cancel  context.CancelFunc
	running sync.WaitGroup
}

// newTelling prepares to count decisions, if metrics are wanted. Whatever fails is logged, and decisions go on without.
func newTelling(o metrics.Options, policies *broker.Policies, records *audit.Log, log *slog.Logger) *telling {
	t := &telling{options: o, log: log, auditor: records}
	if !o.Enabled() {
		return t
	}
	registry := prometheus.NewRegistry()
	recorder, err := authzmetrics.New(records, authzmetrics.Sources{Dropped: records.Dropped, Loads: policies.Loads}, registry)
	if err != nil {
		log.Error(metrics.NotServed, "err", err)
		return t
	}
	t.auditor, t.server = recorder, scrape.New(registry)
	return t
}

// begin listens and answers, until end. The context is that of the broker's work.
func (t *telling) begin(ctx context.Context) {
	if t.server == nil {
		return
	}
	ctx, t.cancel = context.WithCancel(ctx)
	t.running.Go(func() { metrics.Retry(ctx, t.log, nil, t.serve) })
}

// serve listens and answers, until the server is closed.
func (t *telling) serve(ctx context.Context) error {
	listeners, err := t.options.Listen(ctx, t.log)
	if err != nil {
		return err
	}
	served := make(chan error)
	for _, l := range listeners {
		t.log.Info("metrics are served", "at", l.Addr().String())
		go func() { served <- t.server.Serve(l) }()
	}
	for range listeners {
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.log.Error(metrics.NotServed, "err", err) // at once: the other may go on
		}
	}
	return nil
}

// end ends it and removes the socket.
func (t *telling) end() {
	if t.server == nil {
		return
	}
	t.cancel()
	if err := t.server.Close(); err != nil {
		t.log.Warn("end the metrics", "err", err)
	}
	t.running.Wait()
}
