// Package scrape serves metrics and health checks by HTTP: GET and HEAD of /metrics and of the
// checks' paths only. Clients are not trusted: the size and duration of requests and the number of
// connections are bounded.
package scrape

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/net/netutil"

	"palisade/internal/cli/metrics"
	"palisade/internal/cli/version"
)

const (
	// maxConnections is the number of connections that a listener accepts at the same time. Each
	// serves one request, so that none lasts longer than the two timeouts.
	maxConnections = 32
	readTimeout    = 2 * time.Second
	writeTimeout   = 5 * time.Second
	maxHeader      = 4 << 10 // net/http adds 4096
)

// Server serves metrics. Close closes all listeners and connections, and removes unix sockets.
type Server struct{ *http.Server }

// Checks are health checks by their paths, such as /readyz. An error is answered with 503.
type Checks map[string]func() error

// New returns a server of the metrics of g and of the checks, which may be nil.
func New(g prometheus.Gatherer, checks Checks) *Server {
	s := &http.Server{
		Handler:                      Handler(g, checks),
		ReadHeaderTimeout:            readTimeout,
		ReadTimeout:                  readTimeout,
		WriteTimeout:                 writeTimeout,
		MaxHeaderBytes:               maxHeader,
		ErrorLog:                     discard,
		DisableGeneralOptionsHandler: true,
	}
	s.SetKeepAlivesEnabled(false)
	return &Server{s}
}

// discard drops messages, which any client can provoke.
var discard = log.New(io.Discard, "", 0)

// Handler returns a handler that serves the metrics of g at /metrics, and the checks, which may be
// nil.
func Handler(g prometheus.Gatherer, checks Checks) http.Handler {
	opts := promhttp.HandlerOpts{ErrorLog: discard, DisableCompression: true}
	handler := promhttp.HandlerFor(g, opts)
	paths := strings.Join(append([]string{"/metrics"}, slices.Sorted(maps.Keys(checks))...), ", ")
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		check, isCheck := checks[r.URL.Path]
		switch {
		case r.URL.Path != "/metrics" && !isCheck:
			http.Error(w, "there is only "+paths, http.StatusNotFound)
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "metrics are read by GET or HEAD", http.StatusMethodNotAllowed)
		case isCheck:
			if err := check(); err != nil {
				http.Error(w, err.Error(), http.StatusServiceUnavailable)
			} else {
				fmt.Fprintln(w, "ok")
			}
		default:
			handler.ServeHTTP(w, r)
		}
	})
}

// Serve serves requests on a listener until Close, or an error.
func (s *Server) Serve(l net.Listener) error {
	return s.Server.Serve(netutil.LimitListener(l, maxConnections))
}

// Run listens as the options say and serves until ctx ends. Errors are logged.
func (s *Server) Run(ctx context.Context, o *metrics.Options, log *slog.Logger) {
	var running sync.WaitGroup
	running.Go(func() {
		metrics.Retry(ctx, log, nil, func(ctx context.Context) error { return s.serve(ctx, o, log) })
	})
	<-ctx.Done()
	if err := s.Close(); err != nil {
		log.Warn("close the metrics server", "err", err)
	}
	running.Wait()
}

// serve listens and serves until the server is closed.
func (s *Server) serve(ctx context.Context, o *metrics.Options, log *slog.Logger) error {
	listeners, err := o.Listen(ctx, log)
	if err != nil {
		return err
	}
	served := make(chan error)
	for _, l := range listeners {
		log.Info("metrics are served", "at", l.Addr().String())
		go func() { served <- s.Serve(l) }()
	}
	for range listeners {
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			log.Error(metrics.NotServed, "err", err) // the other listener may still work
		}
	}
	return nil
}

// BuildInfo returns a metric with the program's version as a label.
func BuildInfo(program string) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "palisade_build_info", Help: "1, for the version of the program.",
		ConstLabels: prometheus.Labels{"program": program, "version": version.String()},
	}, func() float64 { return 1 })
}
