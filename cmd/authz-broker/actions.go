package main

import (
	"fmt"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"palisade/internal/authz/action"
)

func actionsCommand() *cli.Command {
	return &cli.Command{
		Name:      "actions",
		Usage:     "list the actions that policies can grant",
		UsageText: "authz-broker actions [--engine docker|podman|isulad]",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "engine", Usage: "list only the actions of docker, podman or isulad"},
		},
		Action: func(ctx *cli.Context) error {
			if err := checkArguments(ctx, 0); err != nil {
				return err
			}
			engines := action.Engines
			if ctx.IsSet("engine") {
				engine, err := selectedEngine(ctx)
				if err != nil {
					return err
				}
				engines = []action.Engine{engine}
			}
			table := tabwriter.NewWriter(ctx.App.Writer, 0, 0, 2, ' ', 0)
			fmt.Fprintln(table, "ACTION\tENGINE\tCLASS")
			for _, engine := range engines {
				for _, a := range action.List(engine) {
					fmt.Fprintf(table, "%s\t%s\t%s\n", a.Name, engine, a.Class())
				}
			}
			return table.Flush()
		},
	}
}
