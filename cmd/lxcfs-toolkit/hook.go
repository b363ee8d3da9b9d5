package main

import (
	"context"
	"os"
	"time"

	"github.com/urfave/cli/v2"

	"palisade/internal/cli/options"
)

// hookTime bounds the time of the hook: less than the 30 s after which lcr kills it.
const hookTime = 20 * time.Second

func hookCommand(g *globals) *cli.Command {
	var strict bool
	return &cli.Command{
		Name:  "hook",
		Usage: "OCI hook prestart or createRuntime: mount the files of lxcfs in a container that starts",
		Description: "The runtime writes the state of the container to stdin. " +
			"If lxcfs is missing or fails, the container starts without it, with a warning.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "strict", Destination: &strict,
				Usage: "fail if lxcfs fails, so that the container does not start"},
		},
		Action: options.AsRoot(func(ctx *cli.Context) error {
			timed, cancel := context.WithTimeout(ctx.Context, hookTime)
			defer cancel()
			return g.toolkit().Hook(timed, os.Stdin, strict)
		}),
	}
}
