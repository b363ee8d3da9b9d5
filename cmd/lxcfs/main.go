// Command lxcfs serves a container-aware /proc through FUSE.
package main

import (
	"errors"
	"io"
	"os"

	"github.com/urfave/cli/v2"

	"palisade/internal/cmdline"
	"palisade/internal/supervise"
)

func main() {
	os.Exit(report(newProgram().Run(os.Args), os.Stderr))
}

// report writes what went wrong and returns the exit code for it.
func report(err error, stderr io.Writer) int {
	if errors.Is(err, supervise.ErrNoStart) {
		return cmdline.ExitFailure // the worker has said why
	}
	return cmdline.Report("lxcfs", err, stderr)
}

func newProgram() *cmdline.Program {
	c := new(config)
	p := cmdline.NewProgram("lxcfs", "show containers their own /proc", "lxcfs [OPTIONS] MOUNTPOINT",
		os.Stdout, func(ctx *cli.Context) error {
			if err := c.complete(ctx); err != nil {
				return cmdline.UsageError{Err: err}
			}
			switch {
			case supervise.IsWorker():
				return work(c)
			case isHolder():
				return openForSupervisor()
			}
			c.logNoEffect(ctx.IsSet)
			return run(ctx.Context, c)
		})
	p.Description, p.Flags, p.Abbreviable = description, c.flags(), abbreviable
	return p
}

const description = `Serves MOUNTPOINT/proc and MOUNTPOINT/sys/devices/system/cpu. A process of a container that
reads a file there, or a container's /proc/meminfo onto which that of MOUNTPOINT is mounted, is shown
the memory, CPUs, disks, load and age of its container; everybody else the host's.

Signals: TERM and INT unmount and end it; USR1 starts a fresh worker of the program on disk; USR2 turns the containers' view off, and on again.`
