package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"palisade/internal/cli/cmdline"
	"palisade/internal/ops/doctor"
)

// exitProblems is the exit code of doctor if there are warnings or errors.
const exitProblems = 1

// defaultPolicyFile is the default policy file of authz-broker.
const defaultPolicyFile = "/var/lib/authz-broker/policy.json"

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
			g.jsonFlag(),
			&cli.StringSliceFlag{Name: "engine", Destination: &engines,
				Usage: "check the configuration of `ENGINE` only: " +
					strings.Join(doctor.Engines, ", ") + " (default: all that are installed)"},
			&cli.StringFlag{Name: "policy-file", Value: defaultPolicyFile, Destination: &policyFile,
				Usage: "policy `FILE` of authz-broker"},
			&cli.BoolFlag{Name: "verbose", Destination: &verbose,
				Usage: "also print passed checks, and versions"},
		},
		Action: func(ctx *cli.Context) error {
			if err := noArguments(ctx); err != nil {
				return err
			}
			for _, name := range engines.Value() {
				if !slices.Contains(doctor.Engines, name) {
					return cmdline.Usagef("--engine %q is not one of %s", name, strings.Join(doctor.Engines, ", "))
				}
			}
			if !strings.HasPrefix(policyFile, "/") {
				return cmdline.Usagef("--policy-file %q is not an absolute path", policyFile)
			}
			if err := needRoot(); err != nil {
				return err
			}
			host := doctor.Host(g.toolkit())
			host.Engines, host.PolicyFile = engines.Value(), policyFile
			host.Options, host.Version, host.Help = g.lxcfsOptions(ctx), askVersion, askHelp
			report := doctor.Examine(ctx.Context, host)
			write := func(w io.Writer) { printFindings(w, report, verbose) }
			if err := g.print(ctx.App.Writer, report, write); err != nil {
				return err
			}
			if report.HasProblems() {
				return cli.Exit("", exitProblems)
			}
			return nil
		},
	}
}

// lxcfsOptions returns the global options that select the lxcfs, as far as they are set.
func (g *globals) lxcfsOptions(ctx *cli.Context) []string {
	return given(ctx, option{"mountpoint", g.mountpoint}, option{"runtime-dir", g.runtimeDir})
}

// headings are the headings of findings, by level.
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

const (
	// askTime is the timeout of --version and --help.
	askTime = 2 * time.Second
	// maxVersion and maxHelp bound the output that is kept, in bytes.
	maxVersion = 4096
	maxHelp    = 64 << 10
)

// askVersion returns the version that a program of the host prints. Only root can write the
// program.
func askVersion(ctx context.Context, program string) (string, error) {
	text, err := ask(ctx, program, "--version", maxVersion)
	return versionIn(text), err
}

// askHelp returns the output of --help.
func askHelp(ctx context.Context, program string) (string, error) {
	return ask(ctx, program, "--help", maxHelp)
}

// ask runs a program with one option, and returns the first limit bytes that it prints.
func ask(ctx context.Context, program, option string, limit int) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, option)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"}
	cmd.WaitDelay = 100 * time.Millisecond
	out := limitedBuffer{left: limit}
	cmd.Stdout = &out
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w", program, option, err)
	}
	return out.String(), nil
}

// versionIn returns the version in the first line of a program's output: the word after "version",
// or the last one.
func versionIn(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	words := strings.Fields(line)
	if len(words) == 0 {
		return ""
	}
	word := words[len(words)-1]
	isWord := func(w string) bool { return strings.EqualFold(w, "version") }
	if i := slices.IndexFunc(words, isWord); i >= 0 && i+1 < len(words) {
		word = words[i+1]
	} else if len(words) == 4 && words[0] == "containerd" {
		word = words[2] // before it the name twice, after it the commit
	}
	return strings.TrimSuffix(word, ",")
}

// limitedBuffer keeps the beginning of what is written to it.
type limitedBuffer struct {
	strings.Builder
	left int
}

func (b *limitedBuffer) Write(p []byte) (int, error) {
	kept := p[:min(len(p), b.left)]
	b.left -= len(kept)
	b.Builder.Write(kept)
	return len(p), nil
}
