package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"time"

	"github.com/urfave/cli/v2"

	"palisade/internal/cli/cmdline"
	"palisade/internal/cli/options"
	"palisade/internal/inject/toolkit"
)

func checkSelection(ctx *cli.Context, s *toolkit.Selection, all bool) error {
	if err := options.NoArguments(ctx); err != nil {
		return err
	}
	switch {
	case all && ctx.IsSet("container-id"):
		return cmdline.Usagef("--all and --container-id exclude each other")
	case ctx.IsSet("container-id") && s.ID == "":
		return cmdline.Usagef(`--container-id "" names no container`)
	case !all && s.ID == "":
		return cmdline.Usagef("want --all or --container-id ID")
	case s.Jobs < 1 || s.Jobs > 1024:
		return cmdline.Usagef("--jobs %d is not between 1 and 1024", s.Jobs)
	case s.Timeout < 0:
		return cmdline.Usagef("--timeout %v is negative", s.Timeout)
	}
	return options.NeedRoot()
}

func remountCommand(g *globals) *cli.Command {
	return applyCommand(g, "remount",
		"mount the files of lxcfs in running containers, in place of dead ones",
		(*toolkit.Toolkit).Remount)
}

func umountCommand(g *globals) *cli.Command {
	return applyCommand(g, "umount",
		"unmount the files of lxcfs, dead or alive, from running containers",
		(*toolkit.Toolkit).Umount)
}

// applyCommand returns a command that changes containers and prints the result for each.
func applyCommand(
	g *globals, verb, usage string,
	do func(*toolkit.Toolkit, context.Context, toolkit.Selection) (toolkit.Report, error),
) *cli.Command {
	var s toolkit.Selection
	var all bool
	action := func(ctx *cli.Context) error {
		if err := checkSelection(ctx, &s, all); err != nil {
			return err
		}
		if !isChild() {
			return runInChild(ctx.Context, 0)
		}
		report, err := do(g.toolkit(), ctx.Context, s)
		if err != nil {
			return err
		}
		write := func(w io.Writer) { printReport(w, &report) }
		if err := g.Print(ctx.App.Writer, report, write); err != nil {
			return err
		}
		g.warnSkipped(report.Skipped)
		if err := report.Err(); err != nil {
			return err
		}
		g.Log.Info(verb, "containers", len(report.Results))
		return nil
	}
	return &cli.Command{Name: verb, Usage: usage, Action: action, Flags: []cli.Flag{
		&cli.BoolFlag{Name: "all", Aliases: []string{"a"}, Destination: &all,
			Usage: verb + " all containers"},
		&cli.StringFlag{Name: "container-id", Aliases: []string{"c"}, Destination: &s.ID,
			Usage: verb + " the container `ID`: its id, an unambiguous prefix of it, or its name"},
		&cli.IntFlag{Name: "jobs", Value: 8, Destination: &s.Jobs,
			Usage: "process `N` containers at a time"},
		&cli.DurationFlag{Name: "timeout", Value: 10 * time.Second, Destination: &s.Timeout,
			Usage: "wait at most `TIME` for a healthy lxcfs, and for another lxcfs-toolkit"},
		g.JSONFlag(),
	}}
}

func printReport(w io.Writer, report *toolkit.Report) {
	fmt.Fprintln(w, "CONTAINER\tNAME\tENGINE\tPID\tRESULT\tVIRTUAL\tPUT\tREMOVED\tNOTE")
	for _, r := range report.Results {
		note := r.Error
		if note == "" && len(r.Foreign) > 0 {
			note = "left alone: " + joinWords(r.Foreign)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\t%d\t%d\t%d\t%s\n",
			short(r.ID), cmp.Or(joinWords(r.Names), "-"), cmp.Or(r.Engine, "-"), r.PID,
			r.Outcome, r.Virtual, r.Put, r.Removed, cmdline.OneLine(note))
	}
}
