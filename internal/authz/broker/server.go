// Package broker answers container engines that ask whether a request may be carried out: the Docker Engine by its protocol for
// authorization plug-ins, iSulad by its own. A request that cannot be decided is denied, and each is answered within a second.
package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"time"

	"palisade/internal/authz/action"
	"palisade/internal/authz/audit"
	"palisade/internal/authz/policy"
)

// Auditor takes what was decided. It must not wait.
type Auditor interface{ Add(audit.Record) }

// Config is what a Server needs.
type Config struct {
	Policies *Policies
	Audit    Auditor
	Log      *slog.Logger
	// DryRun allows all; the audit has what the policies say.
	DryRun bool
}

// Server answers engines.
type Server struct {
	Config
	identities identities
	large      chan struct{} // a place for each large request that is read
	servers    map[action.Engine]*http.Server
}

// SocketMode is the mode of the sockets at which engines ask: for root and its group alone.
const SocketMode = 0o660

// headerTime bounds how long a connection may take to send the head of a request.
const headerTime = 5 * time.Second

// New makes a server.
func New(c Config) *Server {
	s := &Server{Config: c, large: make(chan struct{}, largeAtOnce)}
	s.servers = map[action.Engine]*http.Server{
		action.Docker: s.server(s.docker),
		action.Isulad: s.server(s.isulad),
	}
	return s
}

// server is one for the handler of an engine. It closes no connection that waits for a next request: an engine that finds it
// closed in that moment asks again, without the request's body.
func (s *Server) server(handler http.HandlerFunc) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: headerTime,
		// OPTIONS * would be answered with the 200 that allows.
		DisableGeneralOptionsHandler: true,
		ErrorLog:                     slog.NewLogLogger(s.Log.Handler(), slog.LevelDebug),
	}
}

// Serve answers an engine's connections until Shutdown.
func (s *Server) Serve(l net.Listener, engine action.Engine) error {
	err := s.servers[engine].Serve(l)
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// Shutdown takes no new requests and waits for those that are being answered. When the context ends it closes what is left:
// connections that have asked nothing.
func (s *Server) Shutdown(ctx context.Context) (err error) {
	for _, server := range s.servers {
		if server.Shutdown(ctx) != nil {
			err = errors.Join(err, server.Close())
		}
	}
	return err
}

// newRecord returns the record of a request, which is denied unless a policy grants it.
func newRecord(engine action.Engine) *audit.Record {
	return &audit.Record{Engine: engine, Decision: policy.Decision{Action: action.Unknown("")}}
}

// settle decides a request that was understood, and has it audited.
func (s *Server) settle(
	r *audit.Record, who policy.Identity, wanted policy.Request, started time.Time,
) {
	r.Decision = s.Policies.Current().Decide(who, wanted)
	s.record(r, started)
}

// fault denies a request of which no policy can be asked.
func (s *Server) fault(r *audit.Record, err error, started time.Time) {
	r.Decision.Allow, r.Problem, r.Fault = false, err.Error(), audit.Malformed
	if errors.Is(err, errLate) {
		r.Fault = audit.Late
	}
	s.record(r, started)
}

// record has a decision audited.
func (s *Server) record(r *audit.Record, started time.Time) {
	r.Time, r.Latency, r.DryRun = started, time.Since(started), s.DryRun
	s.Audit.Add(*r)
}

// survive denies a request that a mistake in this program has ended, which may be in the audit as well.
func (s *Server) survive(r *audit.Record, cause any, started time.Time) {
	r.Decision.Allow, r.Fault, r.Problem = false, audit.Mistake, fmt.Sprintf("there is a mistake in authz-broker: %v", cause)
	s.Log.Error("a request was denied by a mistake in this program", "err", cause, "stack", string(debug.Stack()))
	defer func() {
		if again := recover(); again != nil {
			s.Log.Error("a denial is not audited", "err", again)
		}
	}()
	s.record(r, started)
}
