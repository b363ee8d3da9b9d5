// Package scrape answers Prometheus by HTTP, and nobody else anything: /metrics by GET and HEAD. Who connects may be anybody:
// what they send is bounded, in size, time and number.
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
)

const (
	// connections is how many are served at once at each listener; others wait. Each asks once, so that none holds its place
	// for longer than askTime and answerTime.
	connections = 32
	askTime     = 2 * time.Second
	answerTime  = 5 * time.Second
	maxHeader   = 4 << 10 // net/http adds 4096 to it
)

// Server answers.
type Server struct{ http *http.Server }

// New makes a server of what g gathers.
func New(g prometheus.Gatherer) *Server {
	s := &http.Server{
		Handler:           Handler(g),
		ReadHeaderTimeout: askTime, ReadTimeout: askTime, WriteTimeout: answerTime,
		MaxHeaderBytes:               maxHeader,
		ErrorLog:                     quiet,
		DisableGeneralOptionsHandler: true,
	}
	s.SetKeepAlivesEnabled(false)
	return &Server{s}
}

// quiet is for logs of what a client can provoke at will.
var quiet = log.New(io.Discard, "", 0)

// Handler answers /metrics with what g gathers, and nothing else.
func Handler(g prometheus.Gatherer) http.Handler {
	return only(promhttp.HandlerFor(g, promhttp.HandlerOpts{ErrorLog: quiet, DisableCompression: true}))
}

// only has the handler answer what there is, and nothing else.
func only(handler http.Handler) http.Handler {
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

// Serve answers at a listener until Close, or an error.
func (s *Server) Serve(l net.Listener) error {
	return s.http.Serve(netutil.LimitListener(l, connections))
}

// Close ends it at once, and removes the sockets.
func (s *Server) Close() error { return s.http.Close() }
