package main

import (
	"context"
	"os"
	"time"

	"github.com/urfave/cli/v2"
)

// hookTime is how long the hook may take in all: less than the 30 s after which lcr kills it.
const hookTime = 20 * time.Second

func hookCommand(g *globals) *cli.Command {
	var strict bool
	return &cli.Command{
		Name:  "hook",
		Usage: "OCI hook prestart or createRuntime: give the container that is being started lxcfs's files",
		Description: "A runtime tells of the container on stdin. Where lxcfs is absent or fails, the container starts without it, " +
			"with a warning.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "strict", Destination: &strict, Usage: "fail, so that the container does not start, where lxcfs does"},
		},
		Action: func(ctx *cli.Context) error {
			if err := noArguments(ctx); err != nil {
				return err
			}
			if err := needRoot(); err != nil {
				return err
			}
			timed, cancel := context.WithTimeout(ctx.Context, hookTime)
			defer cancel()
			return g.toolkit().Hook(timed, os.Stdin, strict)
		},
	}
}
