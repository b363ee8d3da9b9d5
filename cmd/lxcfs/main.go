// Command lxcfs serves a container-aware /proc through FUSE.
package main

import (
	"errors"
	"io"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"palisade/internal/cmdline"
	"palisade/internal/supervise"
	"palisade/internal/version"
)

func main() {
	os.Exit(report(newApp().Run(optionsFirst(os.Args)), os.Stderr))
}

// report writes what went wrong and returns the exit code for it.
func report(err error, stderr io.Writer) int {
	if errors.Is(err, supervise.ErrNoStart) {
		return cmdline.ExitFailure // the worker has said why
	}
	return cmdline.Report("lxcfs", err, stderr)
}

func newApp() *cli.App {
	c := new(config)
	return &cli.App{
		Name:                   "lxcfs",
		Usage:                  "show containers their own /proc",
		UsageText:              "lxcfs [OPTIONS] MOUNTPOINT",
		Version:                version.String(),
		Description:            description,
		HideHelpCommand:        true,
		UseShortOptionHandling: true,
		Flags:                  c.flags(),
		Writer:                 os.Stdout,
		ErrWriter:              io.Discard, // errors are reported once, by report
		ExitErrHandler:         func(*cli.Context, error) {},
		OnUsageError: func(_ *cli.Context, err error, _ bool) error {
			return cmdline.Usagef("%w (lxcfs --help lists the options)", err)
		},
		Action: func(ctx *cli.Context) error {
			if err := c.complete(ctx); err != nil {
				return cmdline.UsageError{Err: err}
			}
			switch {
			case supervise.IsWorker():
				return work(c)
			case isHolder():
				return openForSupervisor()
			}
			return run(ctx.Context, c)
		},
	}
}

// optionsFirst moves MOUNTPOINT behind the options, as in lxcfs's C version they may follow it.
func optionsFirst(args []string) []string {
	if len(args) > 2 && !strings.HasPrefix(args[1], "-") && strings.HasPrefix(args[2], "-") {
		args = append(append([]string{args[0]}, args[2:]...), args[1])
	}
	return args
}

const description = `Serves MOUNTPOINT/proc and MOUNTPOINT/sys/devices/system/cpu. A process of a container that
reads a file there, or a container's /proc/meminfo onto which that of MOUNTPOINT is mounted, is shown
the memory, CPUs, disks, load and age of its container; everybody else the host's.

Signals: TERM and INT unmount and end it; USR1 starts a fresh worker of the program on disk; USR2 turns the containers' view off, and on again.`
