// Command lxcfs serves a container-aware /proc through FUSE.
package main

import (
	"errors"
	"os"

	"github.com/urfave/cli/v2"

	"palisade/internal/cli/cmdline"
	"palisade/internal/lxcfs/calls"
	"palisade/internal/lxcfs/supervise"
)

func main() {
	err := newProgram().Run(os.Args)
	if errors.Is(err, supervise.ErrNoStart) {
		os.Exit(cmdline.ExitFailure) // the worker has logged the reason
	}
	os.Exit(cmdline.Report("lxcfs", err, os.Stderr))
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
			case calls.IsWriter():
				return writeAnswers()
			case isHolder():
				return openForSupervisor()
			}
			for _, option := range noEffect {
				if ctx.IsSet(option.name) {
					c.log.Debug("option has no effect", "option", "--"+option.name, "why", option.why)
				}
			}
			return run(ctx.Context, c)
		})
	p.Description, p.Flags, p.Abbreviable = description, c.flags(), abbreviable
	return p
}

const description = `Serves MOUNTPOINT/proc, MOUNTPOINT/sys/devices/system/cpu and
MOUNTPOINT/sys/devices/system/node. A process in a container that reads a file there, or the same
file mounted on the container's /proc, gets the memory, CPUs, NUMA nodes, disks, load and uptime of
its container. Processes of the host get those of the host.

Signals: TERM and INT unmount lxcfs and end it; USR1 starts a new worker from the program on disk;
USR2 makes containers read the host's files, and the next USR2 their own again.`
