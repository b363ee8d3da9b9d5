// Package metrics is where programs let themselves be asked for metrics: the options that say so, and the listeners. It knows
// nothing of HTTP.
package metrics

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"palisade/internal/socket"
)

// Options are those of a command line. The zero Options want no metrics.
type Options struct {
	// Address is an IP address and a port, Socket a path. Either may be "", which is none.
	Address, Socket string
}

// Flags are the options as flags.
func (o *Options) Flags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "metrics", Destination: &o.Address,
			Usage: "answer Prometheus at the `ADDRESS`, an IP address and a port such as 127.0.0.1:9436"},
		&cli.StringFlag{Name: "metrics-socket", Destination: &o.Socket,
			Usage: "answer Prometheus at the unix socket `PATH`, which is root's alone"},
	}
}

// Wanted tells whether there are to be metrics.
func (o *Options) Wanted() bool { return o.Address != "" || o.Socket != "" }

// Complete checks what was given; its errors are mistakes of the user. given tells whether an option is on the command line.
func (o *Options) Complete(given func(option string) bool) error {
	if given("metrics") {
		if _, err := parse(o.Address); err != nil {
			return err
		}
	}
	if given("metrics-socket") && !filepath.IsAbs(o.Socket) {
		return fmt.Errorf("--metrics-socket %q is not an absolute path", o.Socket)
	}
	if len(o.Socket) > maxPath {
		return fmt.Errorf("--metrics-socket %q is longer than the %d bytes that a socket's path may have", o.Socket, maxPath)
	}
	return nil
}

// ListenerName is what the program that answers knows the listeners by; a number follows.
const ListenerName = "metrics-"

// maxPath is how long sun_path of unix(7) may be, which ends with a zero.
const maxPath = 107

func parse(address string) (netip.AddrPort, error) {
	a, err := netip.ParseAddrPort(address)
	if err != nil || a.Port() == 0 {
		return a, fmt.Errorf("--metrics %q is no IP address and port, such as 127.0.0.1:9436", address)
	}
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()), nil
}

const (
	// patience is how long an address is waited for that somebody uses: an earlier process may just be ending.
	patience = time.Second
	retry    = 50 * time.Millisecond
)

// Listen makes the listeners. It waits a moment for an address that is in use. A log entry tells of an address that others
// than this host may reach.
func (o *Options) Listen(ctx context.Context, log *slog.Logger) (all []net.Listener, err error) {
	defer func() {
		if err != nil {
			for _, l := range all {
				err = errors.Join(err, l.Close())
			}
			all = nil
		}
	}()
	if o.Address != "" {
		l, err := waitFor(ctx, o.listenAddress)
		if err != nil {
			return all, err
		}
		all = append(all, l)
		if a, err := parse(o.Address); err == nil && !a.Addr().IsLoopback() {
			log.Warn("metrics are served to everybody who reaches the address", "address", o.Address)
		}
	}
	if o.Socket != "" {
		l, err := waitFor(ctx, func() (net.Listener, error) { return socket.Listen(o.Socket, 0o600) })
		if err != nil {
			return all, err
		}
		all = append(all, l)
	}
	return all, nil
}

// NotServed is what is logged where there are to be metrics, and are none.
const NotServed = "metrics are not served"

const (
	// firstDelay is when it is tried again to serve, at first; each time it takes twice as long, up to lastDelay.
	firstDelay = time.Second
	lastDelay  = time.Minute
)

// Keep has metrics served until ctx ends. serve ends where it cannot, and is called again after some time, or at once when there is
// something at renewed: an address may not be there yet when a machine starts. The same error is logged once.
func Keep(ctx context.Context, log *slog.Logger, renewed <-chan struct{}, serve func(context.Context) error) {
	logged := ""
	for delay := firstDelay; ; delay = min(2*delay, lastDelay) {
		err := serve(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil && err.Error() != logged {
			logged = err.Error()
			log.Error(NotServed, "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-renewed:
			delay, logged = firstDelay, ""
		case <-time.After(delay):
		}
	}
}

// listenAddress listens to what was written and to nothing else: to "tcp" 0.0.0.0 would be all addresses of IPv6 too.
func (o *Options) listenAddress() (net.Listener, error) {
	a, err := parse(o.Address)
	if err != nil {
		return nil, err
	}
	network := "tcp6"
	if a.Addr().Is4() {
		network = "tcp4"
	}
	return net.Listen(network, a.String())
}

func waitFor(ctx context.Context, listen func() (net.Listener, error)) (net.Listener, error) {
	for deadline := time.Now().Add(patience); ; {
		l, err := listen()
		if !errors.Is(err, syscall.EADDRINUSE) || time.Now().After(deadline) {
			return l, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(retry):
		}
	}
}
