// Package front is a reverse proxy in front of a container engine: it knows its clients by a TLS
// handshake or from the kernel, applies the policies, and forwards only what it has examined.
package front

import (
	"context"
	"errors"
	"fmt"
	"net"

	"palisade/internal/authz/policy"
)

// Client is who has opened a connection.
type Client struct {
	policy.Identity
	// Method is how the client was identified: "TLS", "unix", "container", or "socket" for the name
	// that a socket stands for.
	Method string
}

// Conn is a connection whose client is verified.
type Conn struct {
	net.Conn
	client func(context.Context) (Client, error)
}

// Client returns the client, or an error if it cannot be identified (any longer). It is called for
// each request, after the first byte of the connection was read: certificates are revoked, and
// containers are renamed, while connections are open.
func (c *Conn) Client(ctx context.Context) (Client, error) { return c.client(ctx) }

// CloseWrite ends what the client reads, which may still send.
func (c *Conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return fmt.Errorf("close one side of a %T: %w", c.Conn, errors.ErrUnsupported)
}
