package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"palisade/internal/cli/cmdline"
	"palisade/internal/cli/options"
	"palisade/internal/inject/engine"
	"palisade/internal/ops/top"
)

// Bounds of --interval.
const (
	minInterval = 100 * time.Millisecond
	maxInterval = time.Hour
)

type topOptions struct {
	once     bool
	interval time.Duration
	sort     string
}

func topCommand(g *globals) *cli.Command {
	var o topOptions
	return &cli.Command{
		Name:  "top",
		Usage: "show running containers with the CPU, memory and load that lxcfs shows in them",
		Description: "On a terminal, top runs until q is pressed. CPU% is the CPU time used between " +
			"two samples, in percent of one CPU. --once takes two samples, so it lasts one interval.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "once", Destination: &o.once, Usage: "print one table and end"},
			&cli.DurationFlag{Name: "interval", Value: time.Second, Destination: &o.interval,
				Usage: "take a sample every `DURATION`: 500ms, 2s"},
			&cli.StringFlag{Name: "sort", Value: top.Orders[0], Destination: &o.sort,
				Usage: "sort by `COLUMN`, the largest first, or by name: " +
					strings.Join(top.Orders, ", ")},
			g.JSONFlag(),
		},
		Action: func(ctx *cli.Context) error {
			if err := o.complete(ctx, g); err != nil {
				return err
			}
			looker := &top.Looker{Mountpoint: g.Mountpoint}
			if o.once {
				return o.printOnce(ctx, g, looker)
			}
			terminal, err := top.NewTerminal()
			if err != nil {
				return err
			}
			screen := top.Screen{Terminal: terminal, By: o.sort, Interval: o.interval}
			return screen.Run(ctx.Context, top.Watch(ctx.Context, g.toolkit().Running, looker, o.interval))
		},
	}
}

func (o *topOptions) complete(ctx *cli.Context, g *globals) error {
	if err := options.NoArguments(ctx); err != nil {
		return err
	}
	switch {
	case !slices.Contains(top.Orders, o.sort):
		return cmdline.Usagef("--sort %q is none of %s", o.sort, strings.Join(top.Orders, ", "))
	case o.interval < minInterval || o.interval > maxInterval:
		return cmdline.Usagef("--interval %v is not between %v and %v",
			o.interval, minInterval, maxInterval)
	case !o.once && g.JSON:
		return cmdline.Usagef("--json needs --once")
	case !o.once && !(term.IsTerminal(int(os.Stdin.Fd())) && term.IsTerminal(int(os.Stdout.Fd()))):
		return cmdline.Usagef("top needs a terminal: --once prints a table to any file")
	}
	return options.NeedRoot()
}

// topResult is the output of --once --json.
type topResult struct {
	Containers []top.Row        `json:"containers"`
	Skipped    []engine.Skipped `json:"skipped_engines,omitempty"`
}

func (o *topOptions) printOnce(ctx *cli.Context, g *globals, looker *top.Looker) error {
	seen, err := top.Once(ctx.Context, g.toolkit().Running, looker, o.interval)
	if err != nil {
		return err
	}
	top.Sort(seen.Rows, o.sort)
	result := topResult{Containers: seen.Rows, Skipped: seen.Skipped}
	for _, skipped := range result.Skipped {
		g.Log.Warn("containers of an engine not listed", "engine", skipped.Source, "err", skipped.Error)
	}
	write := func(w io.Writer) { fmt.Fprintln(w, strings.Join(top.Table(seen.Rows, 0), "\n")) }
	if err := g.Print(ctx.App.Writer, result, write); err != nil {
		return err
	}
	if seen.Err == nil && seen.Unknown > 0 {
		g.Log.Warn(seen.Note())
	}
	return seen.Err
}
