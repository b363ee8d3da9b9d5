package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"palisade/internal/authz/policy"
	"palisade/internal/cli/cmdline"
	"palisade/internal/cli/options"
	"palisade/internal/inject/engine"
	"palisade/internal/inject/probe"
	"palisade/internal/inject/toolkit"
	"palisade/internal/ops/doctor"
)

func doctorCommand(g *globals) *cli.Command {
	var engines cli.StringSlice
	var policyFile string
	var verbose bool
	return &cli.Command{
		Name:  "doctor",
		Usage: "find problems on this host, and their remedies",
		Description: "Checks the kernel, FUSE, cgroups, lxcfs, the files in containers, the " +
			"configuration of engines, and the policies of authz-broker. It changes nothing. " +
			"The exit code is 0 if there are no warnings and errors, and 1 otherwise.",
		Flags: []cli.Flag{
			g.JSONFlag(),
			&cli.StringSliceFlag{Name: "engine", Destination: &engines,
				Usage: "check the configuration of `ENGINE` only: " +
					strings.Join(doctor.Engines, ", ") + " (default: all that are installed)"},
			policyFlag(&policyFile),
			&cli.BoolFlag{Name: "verbose", Destination: &verbose,
				Usage: "also print passed checks, and versions"},
		},
		Action: func(ctx *cli.Context) error {
			for _, name := range engines.Value() {
				if !slices.Contains(doctor.Engines, name) {
					return cmdline.Usagef("--engine %q is not one of %s", name, strings.Join(doctor.Engines, ", "))
				}
			}
			host, err := g.host(ctx, policyFile)
			if err != nil {
				return err
			}
			host.Engines = engines.Value()
			report := doctor.Examine(ctx.Context, host)
			write := func(w io.Writer) { printFindings(w, report, verbose) }
			return g.printState(ctx, report, write, !report.HasProblems())
		},
	}
}

// printState prints the result of a command. If the host is not healthy it returns an error with
// the exit code 1.
func (g *globals) printState(
	ctx *cli.Context, result any, write func(io.Writer), isHealthy bool,
) error {
	if err := g.Print(ctx.App.Writer, result, write); err != nil || isHealthy {
		return err
	}
	return cli.Exit("", 1)
}

func policyFlag(file *string) cli.Flag {
	return &cli.StringFlag{Name: "policy-file", Value: policy.DefaultFile, Destination: file,
		Usage: "policy `FILE` of authz-broker"}
}

// host returns the host for a command that takes options only.
func (g *globals) host(ctx *cli.Context, policyFile string) (*doctor.World, error) {
	if err := options.NoArguments(ctx); err != nil {
		return nil, err
	}
	if !strings.HasPrefix(policyFile, "/") {
		return nil, cmdline.Usagef("--policy-file %q is not an absolute path", policyFile)
	}
	if err := options.NeedRoot(); err != nil {
		return nil, err
	}
	t := g.toolkit()
	return &doctor.World{
		Root: "/", Mountpoint: t.Mountpoint, PolicyFile: policyFile,
		Options: options.Given(ctx, "mountpoint", "runtime-dir"),
		Probe: func(ctx context.Context, mountpoint string) (probe.Result, error) {
			return probe.Look(ctx, mountpoint, toolkit.ProbeTime)
		},
		List: t.List, Ask: ask, DockerVersion: engine.Version,
	}, nil
}

var headings = map[doctor.Level]string{
	doctor.Error: "errors", doctor.Warning: "warnings", doctor.Info: "to know", doctor.OK: "fine",
}

// printFindings prints a report as text, the worst findings first.
func printFindings(w io.Writer, report *doctor.Report, verbose bool) {
	for _, level := range doctor.Levels {
		found := report.Of(level)
		if len(found) == 0 || level == doctor.OK && !verbose {
			continue
		}
		fmt.Fprintf(w, "%s:\n", headings[level])
		for _, f := range found {
			fmt.Fprintf(w, "  %s: %s [%s]\n", f.Subject, f.Problem, f.ID)
			switch {
			case f.Command:
				fmt.Fprintf(w, "      # %s\n", f.Remedy)
			case f.Remedy != "":
				fmt.Fprintf(w, "      %s\n", f.Remedy)
			}
		}
		fmt.Fprintln(w)
	}
	if verbose {
		fmt.Fprintln(w, "versions:")
		for _, name := range slices.Sorted(maps.Keys(report.Versions)) {
			fmt.Fprintf(w, "  %s %s\n", name, report.Versions[name])
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintf(w, "errors: %d, warnings: %d\n",
		report.Count(doctor.Error), report.Count(doctor.Warning))
}
