package nri

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/containerd/nri/pkg/stub"
)

const (
	// retryInterval is the time between attempts to connect to a runtime.
	retryInterval = time.Second
	// closeTime bounds the time that the stub takes to end after its connection is closed.
	closeTime = time.Second
)

// serve connects to the runtime at the socket again and again until ctx ends. The same error is
// logged once.
func (a *Agent) serve(ctx context.Context, socket string) {
	log := a.log.With("socket", socket)
	logged := ""
	for ctx.Err() == nil {
		wasConnected, err := a.connect(ctx, socket, log)
		if ctx.Err() != nil {
			return
		}
		if wasConnected {
			logged = ""
		}
		if err.Error() != logged {
			logged = err.Error()
			log.Warn("no container runtime is connected", "err", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(retryInterval):
		}
	}
}

// connect serves the runtime for one connection, and returns the reason for its end, which is never
// nil.
func (a *Agent) connect(
	ctx context.Context, socket string, log *slog.Logger,
) (wasConnected bool, err error) {
	conn, err := new(net.Dialer).DialContext(ctx, "unix", socket)
	if err != nil {
		return false, err
	}
	defer conn.Close()
	watched := &watchedConn{Conn: conn, failed: make(chan struct{})}
	s := &session{Agent: a, socket: socket, log: log}
	plugin, err := stub.New(s, stub.WithPluginIdx(a.Index), stub.WithPluginName(a.Name),
		stub.WithConnection(watched), stub.WithLogger(stubLogger{log}))
	if err != nil {
		return false, fmt.Errorf("create the plug-in: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- plugin.Run(ctx) }()
	select {
	case err = <-ended:
	case <-watched.failed:
		err = awaitEnd(ended)
	case <-ctx.Done():
		err = awaitEnd(ended)
	}
	err = errors.Join(errors.New("the connection has ended"), err)
	a.mu.Lock()
	wasConnected = a.connected[socket]
	a.mu.Unlock()
	a.setConnected(socket, false, nil)
	return wasConnected, err
}

// awaitEnd waits for the result of the stub's Run. Between registration and configuration Run
// returns neither when its context ends nor when the connection does.
func awaitEnd(ended <-chan error) error {
	select {
	case err := <-ended:
		return err
	case <-time.After(closeTime):
		return nil
	}
}

// watchedConn closes failed at the first error of Read.
type watchedConn struct {
	net.Conn
	once   sync.Once
	failed chan struct{}
}

func (c *watchedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err != nil {
		c.once.Do(func() { close(c.failed) })
	}
	return n, err
}

// stubLogger logs the messages of the stub, which repeat errors that it returns, as debug messages.
type stubLogger struct{ log *slog.Logger }

func (l stubLogger) debug(ctx context.Context, format string, args []any) {
	l.log.DebugContext(ctx, fmt.Sprintf(format, args...))
}

func (l stubLogger) Debugf(ctx context.Context, format string, args ...any) {
	l.debug(ctx, format, args)
}

func (l stubLogger) Infof(ctx context.Context, format string, args ...any) {
	l.debug(ctx, format, args)
}

func (l stubLogger) Warnf(ctx context.Context, format string, args ...any) {
	l.debug(ctx, format, args)
}

func (l stubLogger) Errorf(ctx context.Context, format string, args ...any) {
	l.debug(ctx, format, args)
}
