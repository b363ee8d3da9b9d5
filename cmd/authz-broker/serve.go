package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/urfave/cli/v2"

	"palisade/internal/authz/audit"
	"palisade/internal/authz/broker"
	"palisade/internal/cli/cmdline"
	"palisade/internal/cli/metrics"
	"palisade/internal/cli/version"
	"palisade/internal/linux/lockfile"
)

// serveOptions are the options of authz-broker without a command.
type serveOptions struct {
	dockerSocket, isuladSocket string
	audit, pidFile             string
	debug, dryRun              bool
	metrics                    metrics.Options
}

// off disables a socket.
const off = "off"

func (o *serveOptions) flags() []cli.Flag {
	return append([]cli.Flag{
		&cli.StringFlag{Name: "docker-socket", Value: "/run/docker/plugins/authz-broker.sock",
			Destination: &o.dockerSocket, Usage: "answer Docker at the socket `PATH`, or off"},
		&cli.StringFlag{Name: "isulad-socket", Value: "/run/isulad/plugins/authz-broker.sock",
			Destination: &o.isuladSocket, Usage: "answer iSulad at the socket `PATH`, or off"},
		&cli.StringFlag{Name: "audit", Value: "stdout", Destination: &o.audit,
			Usage: "write each decision to `WHERE`: stdout, syslog, or a file"},
		&cli.StringFlag{Name: "pid-file", Value: "/run/authz.pid", Destination: &o.pidFile,
			Usage: "write the process id to `FILE`; \"\" for none"},
		&cli.BoolFlag{Name: "debug", EnvVars: []string{"DEBUG"}, Destination: &o.debug,
			Usage: "log more"},
		&cli.BoolFlag{Name: "dry-run", Destination: &o.dryRun,
			Usage: "allow all requests, but audit what the policies decide"},
	}, o.metrics.Flags()...)
}

// validate returns a usage error if the options are invalid. isSet reports whether an option is on
// the command line.
func (o *serveOptions) validate(isSet func(option string) bool) error {
	for _, socket := range []struct{ option, path string }{
		{"--docker-socket", o.dockerSocket}, {"--isulad-socket", o.isuladSocket},
	} {
		if socket.path != off && !filepath.IsAbs(socket.path) {
			return cmdline.Usagef("%s %q: want an absolute path or %s", socket.option, socket.path, off)
		}
	}
	docker, isulad := filepath.Clean(o.dockerSocket), filepath.Clean(o.isuladSocket)
	switch metricsSocket := filepath.Clean(o.metrics.Socket); {
	case o.dockerSocket == off && o.isuladSocket == off:
		return cmdline.Usagef("--docker-socket and --isulad-socket are both off")
	case docker == isulad:
		return cmdline.Usagef("--docker-socket and --isulad-socket are both %q", o.dockerSocket)
	case o.metrics.Socket != "" && (metricsSocket == docker || metricsSocket == isulad):
		return cmdline.Usagef("--metrics-socket %q is also the socket of an engine", o.metrics.Socket)
	}
	return o.validateService(isSet)
}

// validateService checks the options that front shares.
func (o *serveOptions) validateService(isSet func(option string) bool) error {
	switch {
	case o.audit != "stdout" && o.audit != "syslog" && !filepath.IsAbs(o.audit):
		return cmdline.Usagef("--audit %q: want stdout, syslog, or an absolute path", o.audit)
	case o.pidFile != "" && !filepath.IsAbs(o.pidFile):
		return cmdline.Usagef("--pid-file %q is not an absolute path", o.pidFile)
	}
	if err := o.metrics.Validate(isSet); err != nil {
		return cmdline.UsageError{Err: err}
	}
	return nil
}

// serve answers the engines until the context ends.
func (o *serveOptions) serve(ctx *cli.Context) (err error) {
	if err := o.validate(ctx.IsSet); err != nil {
		return err
	}
	s, err := o.newService(ctx, o.pidFile)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	server := broker.New(s.decider)
	sockets, err := o.sockets()
	if err != nil {
		return err
	}
	for _, l := range sockets {
		s.serve(l, func() error { return server.Serve(l.Listener, l.engine) })
	}
	s.shutdown = server.Shutdown
	return s.run(ctx.Context)
}

// service is the common part of authz-broker and authz-broker front.
type service struct {
	log          *slog.Logger
	decider      broker.Decider
	audit        *audit.Log
	lock         *lockfile.PIDFile
	registry     *prometheus.Registry
	serveMetrics func(context.Context)
	servers      []func() error
	shutdown     func(context.Context) error
	stopTime     time.Duration // the time limit for shutdown
}

// newService loads the policies, and opens the audit log and the PID file, which may be "". The
// caller must call close.
func (o *serveOptions) newService(ctx *cli.Context, pidFile string) (s *service, err error) {
	policyFile, err := filepath.Abs(ctx.String("policy-file"))
	if err != nil {
		return nil, err
	}
	level := slog.LevelInfo
	if o.debug {
		level = slog.LevelDebug
	}
	s = &service{stopTime: stopTime}
	s.log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if pidFile != "" {
		if s.lock, err = lockfile.OwnPIDFile(pidFile); err != nil {
			return s, fmt.Errorf("use --pid-file: %w", err)
		}
	}
	policies, err := broker.OpenPolicies(policyFile, s.log)
	if err != nil {
		return s, err
	}
	sink, err := audit.Open(o.audit, ctx.App.Writer)
	if err != nil {
		return s, fmt.Errorf("use --audit: %w", err)
	}
	s.audit = audit.New(sink, s.log)
	s.decider = broker.Decider{Policies: policies, Log: s.log, DryRun: o.dryRun}
	s.decider.Audit, s.registry, s.serveMetrics = o.newMetrics(policies, s.audit, s.log)
	return s, nil
}

func (s *service) close() (err error) {
	if s.audit != nil {
		err = s.audit.Close(time.Second)
	}
	if s.lock != nil {
		s.lock.Remove()
	}
	return err
}

// serve adds a listener and the function that serves it until the shutdown.
func (s *service) serve(l net.Listener, serve func() error) {
	s.servers = append(s.servers, func() error {
		if err := serve(); err != nil {
			return fmt.Errorf("serve %s: %w", l.Addr(), err)
		}
		return nil
	})
}

// stopTime is the time limit for connections without a request. Requests are answered within a
// second.
const stopTime = 2 * time.Second

// run serves until the context ends or a socket fails.
func (s *service) run(ctx context.Context) error {
	s.log.Info("serving", "version", version.String(),
		"policies", len(s.decider.Policies.Current().Policies), "dry_run", s.decider.DryRun)
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	signal.Ignore(syscall.SIGPIPE) // the reader of the audit log may exit
	watching, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	failed := make(chan error, len(s.servers)+1)
	running.Go(func() { s.decider.Policies.Watch(watching) })
	running.Go(func() { s.serveMetrics(watching) })
	for _, serve := range s.servers {
		go func() {
			if err := serve(); err != nil {
				failed <- err
			}
		}()
	}
	s.notify(daemon.SdNotifyReady)
	for {
		select {
		case <-hangups:
			s.reload()
		case err := <-failed:
			return errors.Join(err, s.stop())
		case <-ctx.Done():
			return s.stop()
		}
	}
}

// reload loads the policies and reopens the audit log. A failure is logged and changes nothing.
func (s *service) reload() {
	s.notify(daemon.SdNotifyReloading + "\n" + daemon.SdNotifyMonotonicUsec())
	s.decider.Policies.Reload() // logs its error
	if err := s.audit.Reopen(time.Second); err != nil {
		s.log.Error("cannot reopen the audit log", "err", err)
	}
	s.notify(daemon.SdNotifyReady)
}

// stop waits for the answers to current requests.
func (s *service) stop() error {
	s.notify(daemon.SdNotifyStopping)
	ctx, cancel := context.WithTimeout(context.Background(), s.stopTime)
	defer cancel()
	if err := s.shutdown(ctx); err != nil {
		return fmt.Errorf("stop: %w", err)
	}
	s.log.Info("stopped")
	return nil
}

func (s *service) notify(state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		s.log.Warn("cannot notify the service manager", "state", state, "err", err)
	}
}
