// Command palisade shows operators the state of a host: all parts on one page, problems with their
// remedies, and running containers.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/urfave/cli/v2"

	"palisade/internal/cli/cmdline"
	"palisade/internal/cli/options"
	"palisade/internal/inject/toolkit"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	err := newProgram().RunContext(ctx, os.Args)
	stop()
	os.Exit(cmdline.Report("palisade", err, os.Stderr))
}

type globals struct{ options.Global }

func (g *globals) toolkit() *toolkit.Toolkit {
	return &toolkit.Toolkit{Mountpoint: g.Mountpoint, RuntimeDir: g.RuntimeDir, Log: g.Log}
}

func newProgram() *cmdline.Program {
	g := &globals{options.Global{Program: "palisade", RuntimeDir: toolkit.DefaultRuntimeDir}}
	p := cmdline.NewProgram("palisade", "show the state of lxcfs, containers and engines",
		"palisade [OPTIONS] COMMAND [COMMAND_OPTIONS]", os.Stdout, nil,
		statusCommand(g), doctorCommand(g), topCommand(g))
	p.Flags, p.After = g.Flags(), g.Close
	p.Before = func(*cli.Context) error { return g.Complete() }
	return p
}
