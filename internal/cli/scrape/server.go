// Package scrape serves metrics by HTTP: GET and HEAD of /metrics only. Clients are not trusted:
// the size and duration of requests and the number of connections are bounded.
package scrape

import (
	"io"
	"log"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/net/netutil"

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

// New returns a server of the metrics of g.
func New(g prometheus.Gatherer) *Server {
	s := &http.Server{
		Handler:                      Handler(g),
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

// Handler returns a handler that serves the metrics of g at /metrics.
func Handler(g prometheus.Gatherer) http.Handler {
	opts := promhttp.HandlerOpts{ErrorLog: discard, DisableCompression: true}
	handler := promhttp.HandlerFor(g, opts)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path != "/metrics":
			http.Error(w, "there is only /metrics", http.StatusNotFound)
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "metrics are read by GET or HEAD", http.StatusMethodNotAllowed)
		default:
			handler.ServeHTTP(w, r)
		}
	})
}

// Serve serves requests on a listener until Close, or an error.
func (s *Server) Serve(l net.Listener) error {
	return s.Server.Serve(netutil.LimitListener(l, maxConnections))
}

// BuildInfo returns a metric with the program's version as a label.
func BuildInfo(program string) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "palisade_build_info", Help: "1, for the version of the program.",
		ConstLabels: prometheus.Labels{"program": program, "version": version.String()},
	}, func() float64 { return 1 })
}
