// Package metrics has the command-line options and the listeners for metrics. It does not depend on
// HTTP.
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

	"palisade/internal/linux/socket"
)

// Options are the command-line options. The zero Options disable metrics.
type Options struct {
	// Address is an IP address and port, Socket a path. Both are optional.
	Address, Socket string
}

// Flags returns the flags that set the options.
func (o *Options) Flags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "metrics", Destination: &o.Address,
			Usage: "answer Prometheus at the `ADDRESS`, an IP address and a port such as 127.0.0.1:9436"},
		&cli.StringFlag{Name: "metrics-socket", Destination: &o.Socket,
			Usage: "answer Prometheus at the unix socket `PATH`, which is root's alone"},
	}
}

// Enabled reports whether metrics are enabled.
func (o *Options) Enabled() bool { return o.Address != "" || o.Socket != "" }

// Validate returns a usage error if an option is invalid. isSet reports whether an option is on the
// command line.
func (o *Options) Validate(isSet func(option string) bool) error {
	if isSet("metrics") {
		if _, err := parse(o.Address); err != nil {
			return err
		}
	}
	if isSet("metrics-socket") && !filepath.IsAbs(o.Socket) {
		return fmt.Errorf("--metrics-socket %q is not an absolute path", o.Socket)
	}
	if len(o.Socket) > maxPath {
		return fmt.Errorf("--metrics-socket %q is longer than %d bytes", o.Socket, maxPath)
	}
	return nil
}

// ListenerName is the prefix, before a number, of the names by which listeners are passed to the
// process that serves them.
const ListenerName = "metrics-"

// maxPath is the maximum length of a socket's path: sun_path of unix(7) without the final zero.
const maxPath = 107

func parse(address string) (netip.AddrPort, error) {
	a, err := netip.ParseAddrPort(address)
	if err != nil || a.Port() == 0 {
		return a, fmt.Errorf("--metrics %q is not an IP address and port, such as 127.0.0.1:9436",
			address)
	}
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()), nil
}

const (
	// bindTimeout is the time to wait for an address in use, which a terminating process may free.
	bindTimeout  = time.Second
	bindInterval = 50 * time.Millisecond
)

// Listen returns the listeners. It waits up to a second for an address in use, and logs a warning
// if other hosts can reach the address.
func (o *Options) Listen(ctx context.Context, log *slog.Logger) ([]net.Listener, error) {
	for deadline := time.Now().Add(bindTimeout); ; {
		all, err := o.listen(log)
		if !errors.Is(err, syscall.EADDRINUSE) || time.Now().After(deadline) {
			return all, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(bindInterval):
		}
	}
}

func (o *Options) listen(log *slog.Logger) (all []net.Listener, err error) {
	address, addressErr := parse(o.Address)
	if o.Address != "" {
		if addressErr != nil {
			return nil, addressErr
		}
		network := "tcp6" // for "tcp", 0.0.0.0 includes IPv6
		if address.Addr().Is4() {
			network = "tcp4"
		}
		l, err := net.Listen(network, address.String())
		if err != nil {
			return nil, err
		}
		all = append(all, l)
	}
	if o.Socket != "" {
		l, err := socket.Listen(o.Socket, 0o600)
		if err != nil {
			for _, l := range all {
				err = errors.Join(err, l.Close())
			}
			return nil, err
		}
		all = append(all, l)
	}
	if o.Address != "" && !address.Addr().IsLoopback() {
		log.Warn("metrics are served to any host that can reach the address", "address", o.Address)
	}
	return all, nil
}

// NotServed is the message that is logged if metrics are enabled but not available.
const NotServed = "metrics are not served"

const (
	// minDelay is the delay before the first retry. It doubles with each retry, up to maxDelay.
	minDelay = time.Second
	maxDelay = time.Minute
)

// Retry calls serve again and again until ctx ends, since an address may not exist yet during boot.
// It waits longer after each call, unless retry is sent a value. The same error is logged once.
func Retry(
	ctx context.Context, log *slog.Logger, retry <-chan struct{}, serve func(context.Context) error,
) {
	logged := ""
	for delay := minDelay; ; delay = min(2*delay, maxDelay) {
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
		case <-retry:
			delay, logged = minDelay, ""
		case <-time.After(delay):
		}
	}
}
