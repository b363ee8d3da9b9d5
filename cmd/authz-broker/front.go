package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/urfave/cli/v2"

	"palisade/internal/authz/action"
	"palisade/internal/authz/authzmetrics"
	"palisade/internal/authz/front"
	"palisade/internal/authz/learn"
	"palisade/internal/authz/policy"
	"palisade/internal/cli/cmdline"
)

// frontOptions are the options of front, besides those of authz-broker.
type frontOptions struct {
	*serveOptions
	engine, upstream, learn string
	listen                  addresses
}

// addresses are the values of a repeated option. Unlike those of a cli.StringSlice they may contain
// commas.
type addresses []string

// Set implements cli.Generic.
func (a *addresses) Set(value string) error {
	*a = append(*a, value)
	return nil
}

// String implements cli.Generic.
func (a *addresses) String() string { return strings.Join(*a, " ") }

// upstreams are the default sockets of the engines.
var upstreams = map[action.Engine]string{
	action.Docker: "unix:///run/docker.sock",
	action.Podman: "unix:///run/podman/podman.sock",
	action.Isulad: "unix:///run/isulad.sock",
}

func frontCommand(serve *serveOptions) *cli.Command {
	o := &frontOptions{serveOptions: serve}
	return &cli.Command{
		Name:  "front",
		Usage: "identify clients, and forward to an engine what the policies allow",
		UsageText: "authz-broker [OPTIONS] front --engine docker|podman|isulad " +
			"[--upstream unix://PATH] --listen ADDRESS[,OPTION=VALUE]... [check]",
		Description: "With the argument check it only checks the options and the policies.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "engine", Destination: &o.engine,
				Usage: "`ENGINE` behind the front: docker, podman or isulad"},
			&cli.StringFlag{Name: "upstream", Destination: &o.upstream,
				Usage: "forward to the engine's `SOCKET`, such as unix:///run/docker.sock, the default " +
					"for docker"},
			&cli.GenericFlag{Name: "listen", Value: &o.listen,
				Usage: "listen on `ADDRESS`: tcp://IP:PORT,cert=FILE,key=FILE,ca=FILE[,crl=FILE]; " +
					"unix:///PATH[,mode=0660][,owner=USER][,group=GROUP][,user=NAME]; or on a loopback " +
					"address tcp://IP:PORT,insecure-no-client-verification=true,user=NAME"},
			&cli.StringFlag{Name: "learn", Destination: &o.learn, TakesFile: true,
				Usage: "allow all requests, and record what is requested in `FILE`, for the command learn"},
		},
		Action: o.front,
	}
}

// validate returns the path of the engine's socket, or a usage error.
func (o *frontOptions) validate(ctx *cli.Context) (upstream string, err error) {
	if first := ctx.Args().First(); ctx.NArg() > 1 || first != "" && first != "check" {
		return "", cmdline.Usagef("unexpected argument %q", ctx.Args().Get(ctx.NArg()-1))
	}
	for _, option := range []string{"docker-socket", "isulad-socket"} {
		if ctx.IsSet(option) {
			return "", cmdline.Usagef("--%s is not for front, which has --upstream and --listen", option)
		}
	}
	defaultUpstream := upstreams[action.Engine(o.engine)]
	if defaultUpstream == "" {
		return "", cmdline.Usagef("--engine %q: want docker, podman or isulad", o.engine)
	}
	if o.upstream == "" {
		o.upstream = defaultUpstream
	}
	upstream, isUnix := strings.CutPrefix(o.upstream, "unix://")
	if !isUnix || !filepath.IsAbs(upstream) {
		return "", cmdline.Usagef("--upstream %q: want unix:///PATH", o.upstream)
	}
	if len(o.listen) == 0 {
		return "", cmdline.Usagef("--listen is missing")
	}
	for _, text := range o.listen {
		if _, err := front.ParseListen(text); err != nil {
			return "", cmdline.Usagef("--listen: %w", err)
		}
	}
	return upstream, o.validateService(ctx.IsSet)
}

// frontStopTime is the time limit for streams after SIGTERM. Meanwhile new connections wait at the
// service manager's socket for the next front.
const frontStopTime = 5 * time.Second

// frontGCPercent is GOGC for a front, whose heap is so small that it would be collected every few
// hundred requests.
const frontGCPercent = 400

// tune sets the parameters of the Go runtime that the environment does not set. A front with
// threads on all CPUs would delay the engine and its clients, so it leaves them half.
func tune() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(frontGCPercent)
	}
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS((runtime.GOMAXPROCS(0) + 1) / 2)
	}
}

// maxConns returns the limit of a client's connections, each of which may need two descriptors: a
// client cannot use more than a quarter of them.
func maxConns() int {
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) != nil {
		return 0
	}
	return int(min(max(limit.Cur/8, 64), math.MaxInt32))
}

// front forwards requests until the context ends.
func (o *frontOptions) front(ctx *cli.Context) (err error) {
	upstream, err := o.validate(ctx)
	if err != nil {
		return err
	}
	if ctx.NArg() > 0 {
		_, err := policy.Load(ctx.String("policy-file"))
		return err
	}
	tune()
	pidFile := ""
	if ctx.IsSet("pid-file") { // the default is for the broker
		pidFile = o.pidFile
	}
	s, err := o.newService(ctx, pidFile)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	passed, err := activation.Listeners()
	if err != nil {
		return fmt.Errorf("get the service manager's sockets: %w", err)
	}
	engine := action.Engine(o.engine)
	listeners, err := front.ListenAll(o.listen, front.Env{
		Log: s.log, Engine: engine, Passed: passed,
		Containers: front.NewContainers(engine, upstream), MaxConns: maxConns(),
	})
	if err != nil {
		return err
	}
	if o.learn != "" {
		recorder, err := learn.Open(o.learn, s.log)
		if err != nil {
			return fmt.Errorf("use --learn: %w", err)
		}
		defer recorder.Close()
		s.decider.DryRun, s.decider.Learn = true, recorder.Add
	}
	f := newFront(front.Config{Decider: s.decider, Engine: engine, Upstream: upstream})
	authzmetrics.RegisterFront(f.Open, f.Failures, s.registry)
	for _, l := range listeners {
		s.serve(l, func() error { return f.Serve(l) })
	}
	s.shutdown, s.stopTime = f.Shutdown, frontStopTime
	return s.run(ctx.Context)
}

// frontServer is a front of an engine.
type frontServer interface {
	Serve(net.Listener) error
	Shutdown(context.Context) error
	Open() int
	Failures() uint64
}

func newFront(c front.Config) frontServer {
	if c.Engine == action.Isulad {
		return front.NewIsulad(c)
	}
	return front.New(c)
}
