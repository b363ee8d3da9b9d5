package main

import "github.com/urfave/cli/v2"

func prestartCommand(g *globals) *cli.Command {
	return &cli.Command{
		Name:  "prestart",
		Usage: "prepare the host before lxcfs is started",
		Description: "Unmounts a dead lxcfs from the mount point and where \"bind\" has mounted it, and makes the mount point's " +
			"parent a shared mount unless it is in one, so that containers that have it " +
			"(-v /var/lib/lxc:/var/lib/lxc:rslave) get every new lxcfs.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "undo", Usage: "take away the shared mount that prestart has made, before lxcfs is removed"},
		},
		Action: func(ctx *cli.Context) error {
			if err := noArguments(ctx); err != nil {
				return err
			}
			if err := needRoot(); err != nil {
				return err
			}
			if ctx.Bool("undo") {
				return g.toolkit().UndoPrestart()
			}
			return g.toolkit().Prestart(ctx.Context)
		},
	}
}
