package main

import (
	"errors"
	"time"

	"github.com/urfave/cli/v2"

	"palisade/internal/cli/cmdline"
	"palisade/internal/cli/options"
)

func bindCommand(g *globals) *cli.Command {
	var undo bool
	var timeout time.Duration
	return &cli.Command{
		Name:      "bind",
		Usage:     "mount lxcfs on other directories too",
		ArgsUsage: "DIR...",
		Description: "LXC, Incus, LXD and Proxmox VE expect lxcfs on /var/lib/lxcfs. " +
			"The same lxcfs is mounted there too, without a second daemon, and is unmounted " +
			"together with it. DIR is created if it does not exist. A dead lxcfs on DIR is replaced. " +
			"If anything else is mounted on DIR, the command fails.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "undo", Destination: &undo,
				Usage: "unmount lxcfs from DIR, but keep DIR"},
			&cli.DurationFlag{Name: "timeout", Value: 10 * time.Second, Destination: &timeout,
				Usage: "wait at most `TIME` for a healthy lxcfs, and for another lxcfs-toolkit"},
		},
		Action: func(ctx *cli.Context) error {
			dirs := ctx.Args().Slice()
			switch {
			case len(dirs) == 0:
				return cmdline.UsageError{Err: errors.New("want at least one DIR")}
			case timeout < 0:
				return cmdline.Usagef("--timeout %v is negative", timeout)
			}
			if err := options.NeedRoot(); err != nil {
				return err
			}
			if undo {
				return g.toolkit().Unbind(ctx.Context, dirs)
			}
			return g.toolkit().Bind(ctx.Context, dirs, timeout)
		},
	}
}
