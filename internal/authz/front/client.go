// Package front is a reverse proxy in front of a container engine: it identifies its clients by TLS
// or by the kernel, applies the policies, and forwards only what it has examined.
//
// Reading order: client, listen, tls, unix, containers (identification); front, request (what the
// policies see), forward, upstream, tunnel, watch, newconns (HTTP); own; isulad (gRPC).
package front

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"palisade/internal/authz/policy"
)

// Client identifies the peer of a connection.
type Client struct {
	policy.Identity
	// Method is the means of identification: "TLS", "unix", "container", or "socket" for a listener
	// with user=NAME.
	Method string
}

// Conn is a connection whose client is verified before the first byte is read.
type Conn struct {
	net.Conn
	client func(context.Context) (Client, error)
	// verify is called once. It may be nil.
	verify   func() error
	once     sync.Once
	verified error
	// key identifies the client for the limit, which may be nil, after verify.
	key      func() string
	limit    *connLimit
	uncount  func()
	mu       sync.Mutex // guards uncount and isClosed
	isClosed bool
	// isRetired reports that the connection has had its last request.
	isRetired atomic.Bool
	lingering sync.Once
	// ahead reads more at a time than net/http does. It is nil unless a body is being read, or data
	// is left in it.
	ahead         *bufio.Reader
	isReadingBody atomic.Bool
}

// Client returns the client, or an error if it cannot be identified. It is called for each request:
// certificates are revoked, and containers are renamed, while connections are open.
func (c *Conn) Client(ctx context.Context) (Client, error) {
	if err := c.ready(); err != nil {
		return Client{}, err
	}
	return c.client(ctx)
}

// Read reads from the connection. It fails if a client at a TLS listener has no valid certificate,
// and after the last request.
func (c *Conn) Read(b []byte) (int, error) {
	if c.isRetired.Load() {
		c.lingering.Do(c.linger)
		return 0, net.ErrClosed // not EOF, which net/http would take for the end of a body
	}
	if err := c.ready(); err != nil {
		return 0, err
	}
	if c.ahead != nil && c.ahead.Buffered() == 0 && !c.isReadingBody.Load() {
		c.ahead = nil
	}
	if c.ahead != nil {
		return c.ahead.Read(b)
	}
	return c.Conn.Read(b)
}

// readAhead makes later calls of Read read ahead into the returned buffer. It must not be called
// concurrently with Read.
func (c *Conn) readAhead() *bufio.Reader {
	c.isReadingBody.Store(true)
	if c.ahead == nil {
		c.ahead = bufio.NewReaderSize(c.Conn, bufferSize)
	}
	return c.ahead
}

// CloseWrite closes the direction to the client.
func (c *Conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

func (c *Conn) ready() error {
	c.once.Do(func() {
		if c.verify != nil {
			c.verified = c.verify()
		}
		if c.verified == nil && c.limit != nil {
			c.verified = c.count()
		}
	})
	return c.verified
}

// count counts the connection as one of its client's, until it is closed.
func (c *Conn) count() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.isClosed {
		return net.ErrClosed
	}
	key := c.key()
	if err := c.limit.add(key); err != nil {
		return err
	}
	c.uncount = func() { c.limit.remove(key) }
	return nil
}

// Close closes the connection.
func (c *Conn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.isClosed = true; c.uncount != nil {
		c.uncount()
		c.uncount = nil
	}
	return c.Conn.Close()
}

// connLimit limits the connections of each client, so that it leaves descriptors for others.
type connLimit struct {
	max int
	log *slog.Logger

	mu   sync.Mutex
	open map[string]int

	refusals throttle
}

func (l *connLimit) add(key string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open[key] >= l.max {
		l.refusals.warn(l.log, "connection refused: the client has too many", "client", key)
		return fmt.Errorf("%s has more than %d connections", key, l.max)
	}
	l.open[key]++
	return nil
}

func (l *connLimit) remove(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open[key]--; l.open[key] == 0 {
		delete(l.open, key)
	}
}

// linger discards what the client still sends, for drainTime at most. Closing a connection with
// unread data resets it, and the client may lose the last answer.
func (c *Conn) linger() {
	c.CloseWrite()
	c.SetReadDeadline(time.Now().Add(drainTime))
	io.Copy(io.Discard, c.Conn)
}
