package main

import (
	"errors"
	"time"

	"github.com/urfave/cli/v2"

	"palisade/internal/cmdline"
)

func bindCommand(g *globals) *cli.Command {
	var undo bool
	var timeout time.Duration
	return &cli.Command{
		Name:      "bind",
		Usage:     "mount lxcfs on other directories too",
		ArgsUsage: "DIR...",
		Description: "For programs that expect lxcfs elsewhere: LXC, Incus, LXD and Proxmox on /var/lib/lxcfs. " +
			"It is the same lxcfs, with one daemon, and is unmounted from there with it. " +
			"DIR is made if it does not exist. A dead lxcfs on DIR is replaced; " +
			"if anything else is mounted there the command fails.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "undo", Destination: &undo,
				Usage: "unmount lxcfs from DIR, which is not removed"},
			&cli.DurationFlag{Name: "timeout", Value: 10 * time.Second, Destination: &timeout,
				Usage: "wait `TIME` at most for lxcfs to be healthy, and for another lxcfs-toolkit to end"},
		},
		Action: func(ctx *cli.Context) error {
			dirs := ctx.Args().Slice()
			switch {
			case len(dirs) == 0:
				return cmdline.UsageError{Err: errors.New("a DIR is needed")}
			case timeout < 0:
				return cmdline.Usagef("--timeout %v is negative", timeout)
			}
			if err := needRoot(); err != nil {
				return err
			}
			if undo {
				return g.toolkit().Unbind(ctx.Context, dirs)
			}
			return g.toolkit().Bind(ctx.Context, dirs, timeout)
		},
	}
}
