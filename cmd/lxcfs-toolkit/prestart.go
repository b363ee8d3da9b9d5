package main

import (
	"github.com/urfave/cli/v2"

	"palisade/internal/cli/options"
)

func prestartCommand(g *globals) *cli.Command {
	return &cli.Command{
		Name:  "prestart",
		Usage: "prepare the host before lxcfs is started",
		Description: "Unmounts a dead lxcfs from the mount point and the directories of \"bind\". " +
			"Makes the parent of the mount point a shared mount, unless it is on one, so that every " +
			"new lxcfs propagates to containers with that directory " +
			"(-v /var/lib/lxc:/var/lib/lxc:rslave).",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "undo",
				Usage: "unmount the shared mount that prestart has made, before lxcfs is removed"},
		},
		Action: options.AsRoot(func(ctx *cli.Context) error {
			if ctx.Bool("undo") {
				return g.toolkit().UndoPrestart()
			}
			return g.toolkit().Prestart(ctx.Context)
		}),
	}
}
