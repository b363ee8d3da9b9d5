// Package front is a reverse proxy in front of a container engine: it identifies its clients by TLS
// or by the kernel, applies the policies, and forwards only what it has examined.
//
// Reading order: client, listen, tls, unix, containers (identification); front, request (what the
// policies see), forward, upstream, tunnel, watch, newconns (HTTP); own; isulad (gRPC).
package front

import (
	"context"
	"errors"
	"io"
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
	// isRetired reports that the connection has had its last request.
	isRetired atomic.Bool
	lingering sync.Once
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
	return c.Conn.Read(b)
}

// CloseWrite closes the direction to the client.
func (c *Conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

func (c *Conn) ready() error {
	if c.verify != nil {
		c.once.Do(func() { c.verified = c.verify() })
	}
	return c.verified
}

// linger discards what the client still sends, for drainTime at most. Closing a connection with
// unread data resets it, and the client may lose the last answer.
func (c *Conn) linger() {
	c.CloseWrite()
	c.SetReadDeadline(time.Now().Add(drainTime))
	io.Copy(io.Discard, c.Conn)
}
