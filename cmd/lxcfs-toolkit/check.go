package main

import (
	"fmt"
	"io"
	"time"

	"github.com/urfave/cli/v2"

	"palisade/internal/cli/options"
	"palisade/internal/inject/probe"
	"palisade/internal/inject/toolkit"
)

// exitCodes are the exit codes of check-lxcfs for an lxcfs that does not serve.
var exitCodes = map[probe.State]int{probe.NotMounted: 3, probe.Dead: 4, probe.Wedged: 5}

func checkCommand(g *globals) *cli.Command {
	return &cli.Command{
		Name:  "check-lxcfs",
		Usage: "report whether lxcfs is mounted and answers",
		Description: fmt.Sprintf("The exit code is 0 if lxcfs answers, %d if it is not mounted, "+
			"%d if its process has ended, %d if it does not answer.",
			exitCodes[probe.NotMounted], exitCodes[probe.Dead], exitCodes[probe.Wedged]),
		Flags: []cli.Flag{g.JSONFlag()},
		Action: func(ctx *cli.Context) error {
			if err := options.NoArguments(ctx); err != nil {
				return err
			}
			found, err := probe.Look(ctx.Context, g.Mountpoint, toolkit.ProbeTime)
			if err != nil {
				return err
			}
			write := func(w io.Writer) { printCheck(w, &found) }
			if err := g.Print(ctx.App.Writer, found, write); err != nil {
				return err
			}
			if code := exitCodes[found.State]; code != 0 {
				return cli.Exit("", code)
			}
			return nil
		},
	}
}

func printCheck(w io.Writer, found *probe.Result) {
	fmt.Fprintf(w, "lxcfs on %s is %s", found.Mountpoint, found.State)
	if found.Reason != "" {
		fmt.Fprintf(w, ": %s", found.Reason)
	}
	if found.PID != 0 {
		fmt.Fprintf(w, " (process %d)", found.PID)
	}
	fmt.Fprintln(w)
	if s := found.Server; s != nil {
		uptime := time.Duration(s.Uptime * float64(time.Second)).Round(time.Second)
		fmt.Fprintf(w, "version %s, up %v, containers served: %d, files: %d\n",
			s.Version, uptime, s.Containers, len(found.Files))
		if s.IsOff {
			fmt.Fprintf(w, "SIGUSR2 has switched it off: "+
				"containers read the host's files until kill -USR2 %d\n", s.PID)
		}
	}
}
