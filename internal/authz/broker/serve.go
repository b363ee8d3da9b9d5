// Package broker answers container engines that ask whether a request is allowed: the Docker Engine
// by its protocol for authorization plug-ins, iSulad by its own. It answers each request within a
// second, and denies those that it cannot decide.
//
// Reading order: request, answer, read, identity, policies; decide; docker, isulad (the protocols);
// serve.
package broker

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"

	"palisade/internal/authz/action"
)

// SocketMode is the mode of the sockets to which engines connect.
const SocketMode = 0o660

// headerTime is the time limit for the head of a request.
const headerTime = 5 * time.Second

// Server answers engines.
type Server struct {
	Decider
	large   chan struct{} // limits the large requests in memory
	servers map[action.Engine]*http.Server
}

// New returns a Server for both engines.
func New(d Decider) *Server {
	s := &Server{Decider: d, large: make(chan struct{}, maxLarge)}
	s.servers = map[action.Engine]*http.Server{
		// moby, pkg/plugins and pkg/authorization
		action.Docker: s.newHTTPServer(map[string]http.HandlerFunc{
			"/Plugin.Activate":      activate,
			"/AuthZPlugin.AuthZReq": s.answerRequest,
			"/AuthZPlugin.AuthZRes": answerResponse,
		}),
		action.Isulad: s.newHTTPServer(map[string]http.HandlerFunc{"/isulad.auth": s.isulad}),
	}
	return s
}

// newHTTPServer returns a server without a limit on idle connections: Docker repeats a request
// without its body if it finds the connection closed.
func (s *Server) newHTTPServer(handlers map[string]http.HandlerFunc) *http.Server {
	return &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			c := http.NewResponseController(w)
			c.EnableFullDuplex() // net/http does not read the rest of the body before it answers
			c.SetReadDeadline(time.Now().Add(readTime))
			handle := handlers[r.RequestURI] // exactly: an engine sends no other form
			switch {
			case handle == nil:
				drain(r)
				writeCode(w, http.StatusNotFound)
			case r.Method != http.MethodPost:
				drain(r)
				writeCode(w, http.StatusMethodNotAllowed)
			default:
				handle(w, r)
			}
		}),
		ReadHeaderTimeout: headerTime,
		// net/http would answer OPTIONS * with 200, which iSulad takes as permission.
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

// Shutdown accepts no further requests and waits until the current ones are answered. When the
// context ends, it closes the connections that are left, which have not sent a request.
func (s *Server) Shutdown(ctx context.Context) (err error) {
	for _, server := range s.servers {
		if server.Shutdown(ctx) != nil {
			err = errors.Join(err, server.Close())
		}
	}
	return err
}
