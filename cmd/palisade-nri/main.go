// Command palisade-nri gives the containers of Kubernetes the files of lxcfs. It is a plug-in of
// NRI, the interface of containerd and CRI-O for their nodes.
package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/urfave/cli/v2"

	"palisade/internal/cli/cmdline"
	"palisade/internal/cli/options"
	"palisade/internal/cli/scrape"
	"palisade/internal/cli/version"
	"palisade/internal/inject/toolkit"
	"palisade/internal/nri"
	"palisade/internal/nri/install"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	err := newProgram(os.Stdout).RunContext(ctx, os.Args)
	stop()
	os.Exit(cmdline.Report("palisade-nri", err, os.Stderr))
}

func newProgram(stdout io.Writer) *cmdline.Program {
	o := new(agentOptions)
	p := cmdline.NewProgram("palisade-nri",
		"give the containers of Kubernetes the files of lxcfs",
		"palisade-nri [OPTIONS] [COMMAND]", stdout, o.run, uninstallCommand(o))
	p.Flags = o.flags()
	return p
}

// run serves the container runtimes until the context ends.
func (o *agentOptions) run(ctx *cli.Context) error {
	configuration, err := o.complete(ctx)
	if err != nil {
		return err
	}
	installer, err := o.onHost()
	if err != nil {
		return err
	}
	log, t := installer.Log, installer.Toolkit
	registry := prometheus.NewRegistry()
	agent := nri.New(configuration, t, log, registry)
	log.Info("starting", "version", version.String(), "sockets", configuration.Sockets)
	keeper := keeper{Installer: installer, agent: agent}
	var running sync.WaitGroup
	if o.installDir != "" {
		keeper.setFailure(errPending)
		running.Go(func() { keeper.run(ctx.Context) })
	}
	if o.metrics.Enabled() {
		server := scrape.New(registry, scrape.Checks{
			"/healthz": func() error { return nil },
			"/readyz":  func() error { return errors.Join(agent.Ready(), keeper.failure()) },
		})
		running.Go(func() { server.Run(ctx.Context, &o.metrics, log) })
	}
	running.Go(func() { keeper.writeStatus(ctx.Context) })
	notify(log, daemon.SdNotifyReady)
	agent.Run(ctx.Context)
	notify(log, daemon.SdNotifyStopping)
	running.Wait()
	log.Info("stopped")
	return nil
}

// onHost enters the host, if the options ask for it, and returns what installs lxcfs there.
func (o *agentOptions) onHost() (*install.Installer, error) {
	if err := options.NeedRoot(); err != nil {
		return nil, err
	}
	log := slog.New(o.handler())
	i := &install.Installer{Dir: o.installDir, Version: version.String(), Log: log}
	i.Toolkit = &toolkit.Toolkit{
		Mountpoint: filepath.Clean(o.mountpoint), RuntimeDir: filepath.Clean(o.runtimeDir), Log: log,
	}
	self, err := os.Executable()
	i.Programs = filepath.Dir(self)
	if err == nil && o.enterHost {
		i.Programs, err = enterHost(i.Programs)
	}
	return i, err
}

func notify(log *slog.Logger, state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		log.Warn("cannot notify the service manager", "state", state, "err", err)
	}
}
