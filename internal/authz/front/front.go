package front

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"palisade/internal/authz/action"
	"palisade/internal/authz/broker"
)

const (
	// headTime is the time limit for the head of a request.
	headTime = 10 * time.Second
	// idleTime is the time limit for an idle connection of a client.
	idleTime = 5 * time.Minute
	// maxHead is the size limit in bytes of the head of a request. X-Registry-Config, with the
	// credentials of all registries, is the longest header of clients.
	maxHead = 256 << 10
)

// Config is the configuration of a Front.
type Config struct {
	broker.Decider
	Engine action.Engine
	// Upstream is the path of the engine's unix socket.
	Upstream string
}

// Front is a reverse proxy in front of the HTTP API of an engine.
type Front struct {
	Config
	server *http.Server
	owners *Owners
	pool   pool
	large  chan struct{} // limits the bodies in memory
	// interval and bodyTime are verifyInterval and maxBodyTime, except in tests.
	interval, bodyTime time.Duration
	tunnels            sync.WaitGroup
	watching           sync.Once
	newConns           newConns

	failures atomic.Uint64

	mu   sync.Mutex
	open map[*exchange]time.Time // the current exchanges, and when they began
}

// New returns a Front.
func New(c Config) *Front {
	f := &Front{
		Config: c, pool: pool{path: c.Upstream}, owners: NewOwners(c.Upstream),
		large: make(chan struct{}, maxLarge), interval: verifyInterval, bodyTime: maxBodyTime,
		open: make(map[*exchange]time.Time),
	}
	f.server = &http.Server{
		Handler:           http.HandlerFunc(f.serve),
		ReadHeaderTimeout: headTime,
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    maxHead,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, connKey{}, c)
		},
		ConnState: f.newConns.connState,
		// OPTIONS * is decided like other requests.
		DisableGeneralOptionsHandler: true,
		ErrorLog:                     slog.NewLogLogger(c.Log.Handler(), slog.LevelDebug),
	}
	return f
}

// connKey is the key of the client's connection in a request's context.
type connKey struct{}

// Serve answers the connections of a listener, which must be of the type *Conn, until Shutdown.
func (f *Front) Serve(l net.Listener) error {
	f.newConns.addListener(l)
	defer f.newConns.serving.Done()
	f.watching.Do(func() {
		ctx, cancel := context.WithCancel(context.Background())
		f.server.RegisterOnShutdown(cancel)
		go f.watchAll(ctx)
	})
	err := f.server.Serve(l)
	if errors.Is(err, http.ErrServerClosed) || f.newConns.isStopping() {
		return nil
	}
	return err
}

// Shutdown accepts no further requests, and waits until the current ones and streams have ended.
// When the context ends, it closes the connections that are left.
func (f *Front) Shutdown(ctx context.Context) (err error) {
	defer f.pool.close()
	defer f.killAll()
	f.server.SetKeepAlivesEnabled(false)
	f.newConns.drain(ctx)
	if f.server.Shutdown(ctx) != nil {
		f.killAll()
		err = f.server.Close()
	}
	ended := make(chan struct{})
	go func() {
		f.tunnels.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-ctx.Done():
	}
	return err
}

// Open returns the number of requests that were forwarded and have not ended.
func (f *Front) Open() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.open)
}

// Failures returns the number of requests that the engine did not answer.
func (f *Front) Failures() uint64 { return f.failures.Load() }
