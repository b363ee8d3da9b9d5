package main

import (
	"slices"

	"github.com/urfave/cli/v2"

	"palisade/internal/cli/cmdline"
	"palisade/internal/cli/options"
	"palisade/internal/inject/toolkit"
)

type globals struct {
	options.Global
	whilePID int
	// given are the options that are set, as arguments for the hook: all but --json and --while-pid.
	// The order is fixed since users keep the output of hook-spec under version control.
	given []string
}

func newGlobals() *globals {
	return &globals{Global: options.Global{
		Program: "lxcfs-toolkit", RuntimeDir: toolkit.DefaultRuntimeDir,
	}}
}

func (g *globals) flags() []cli.Flag {
	flags := g.Flags()
	return slices.Insert(flags, len(flags)-1, cli.Flag(&cli.IntFlag{
		Name: "while-pid", Destination: &g.whilePID,
		Usage: "fail when the process `PID`, the lxcfs to wait for, ends",
	}))
}

func (g *globals) complete(ctx *cli.Context) error {
	if ctx.IsSet("while-pid") && !isChild() {
		if g.whilePID < 1 {
			return cmdline.Usagef("--while-pid %d is no process", g.whilePID)
		}
		return runInChild(ctx.Context, g.whilePID)
	}
	err := g.Complete()
	g.given = options.Given(ctx, "mountpoint", "log", "log-level", "log-format", "runtime-dir")
	return err
}

func (g *globals) toolkit() *toolkit.Toolkit {
	return &toolkit.Toolkit{Mountpoint: g.Mountpoint, RuntimeDir: g.RuntimeDir, Log: g.Log}
}
