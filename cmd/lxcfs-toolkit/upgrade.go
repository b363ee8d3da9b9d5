package main

import (
	"fmt"
	"io"
	"time"

	"github.com/urfave/cli/v2"

	"palisade/internal/cli/cmdline"
	"palisade/internal/cli/options"
)

func upgradeCommand(g *globals) *cli.Command {
	var timeout time.Duration
	return &cli.Command{
		Name:  "upgrade",
		Usage: "make lxcfs serve with the program that is on disk now",
		Description: "A new worker process takes over from the old one; no read fails or waits. " +
			"If the new worker does not start, the old one continues to serve, and the command fails.",
		Flags: []cli.Flag{
			g.JSONFlag(),
			&cli.DurationFlag{Name: "timeout", Value: 30 * time.Second, Destination: &timeout,
				Usage: "wait at most `TIME`"},
		},
		Action: options.AsRoot(func(ctx *cli.Context) error {
			if timeout <= 0 {
				return cmdline.Usagef("--timeout %v is not positive", timeout)
			}
			status, err := g.toolkit().Upgrade(ctx.Context, timeout)
			if err != nil {
				return err
			}
			return g.Print(ctx.App.Writer, status, func(w io.Writer) {
				fmt.Fprintf(w, "lxcfs on %s is served by process %d, version %s\n",
					g.Mountpoint, status.Worker, status.Version)
			})
		}),
	}
}
