package front

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"
)

// connectTime is the time limit for connecting to a front, including the TLS handshake.
const connectTime = 10 * time.Second

// Connector connects programs that have no TLS of their own to a front.
type Connector struct {
	// Address is the front's HOST:PORT.
	Address string
	// Cert, Key and CA are files in PEM: the user's certificate and its key, and the authority of the
	// front's certificate. They are read for each connection.
	Cert, Key, CA string
	Log           *slog.Logger
}

// Check returns an error if the files cannot be used.
func (c *Connector) Check() error {
	_, err := c.config()
	return err
}

func (c *Connector) config() (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(c.Cert, c.Key)
	if err != nil {
		return nil, fmt.Errorf("use %s and %s: %w", c.Cert, c.Key, err)
	}
	text, err := os.ReadFile(c.CA)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("parse %s: no certificate in PEM", c.CA)
	}
	return &tls.Config{
		Certificates: []tls.Certificate{pair},
		RootCAs:      roots,
		MinVersion:   tls.VersionTLS12,
		NextProtos:   []string{"h2", "http/1.1"}, // the front selects that of its engine
	}, nil
}

// Serve connects each connection of the listener to the front, until the context ends.
func (c *Connector) Serve(ctx context.Context, l net.Listener) error {
	defer context.AfterFunc(ctx, func() { l.Close() })()
	var running sync.WaitGroup
	defer running.Wait()
	for {
		local, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		running.Go(func() {
			defer local.Close()
			if err := c.connect(ctx, local); err != nil && ctx.Err() == nil {
				c.Log.Error("cannot connect to the front", "address", c.Address, "err", err)
			}
		})
	}
}

// connect connects a connection to the front, until both directions end.
func (c *Connector) connect(ctx context.Context, local net.Conn) error {
	config, err := c.config()
	if err != nil {
		return err
	}
	dialing, cancel := context.WithTimeout(ctx, connectTime)
	defer cancel()
	remote, err := (&tls.Dialer{Config: config}).DialContext(dialing, "tcp", c.Address)
	if err != nil {
		return err
	}
	defer remote.Close()
	defer context.AfterFunc(ctx, func() { errors.Join(local.Close(), remote.Close()) })()
	var up error
	var both sync.WaitGroup
	both.Go(func() { up = copyHalf(remote, local) })
	down := copyHalf(local, remote)
	both.Wait()
	return errors.Join(up, down)
}

// copyHalf copies one direction until EOF, and then closes it. After an error it closes both
// connections.
func copyHalf(to, from net.Conn) error {
	err := pipe(to, nil, from)
	if half, ok := to.(interface{ CloseWrite() error }); ok && err == nil {
		err = half.CloseWrite()
	}
	if err != nil {
		to.Close()
		from.Close()
	}
	return err
}
