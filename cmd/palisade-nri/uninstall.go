package main

import (
	"context"
	"errors"
	"io/fs"
	"os"

	"github.com/urfave/cli/v2"

	"palisade/internal/cli/cmdline"
	"palisade/internal/cli/options"
	"palisade/internal/inject/agentstatus"
)

func uninstallCommand(o *agentOptions) *cli.Command {
	stay := false
	return &cli.Command{
		Name:  "uninstall",
		Usage: "remove the lxcfs that --install has installed",
		Description: "Give it the same --install and --enter-host as the agent, which must have ended: " +
			"it would install lxcfs again at its next start. lxcfs ends, and containers read the host's " +
			"files then. An lxcfs of a package is left alone.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "stay", Destination: &stay,
				Usage: "then wait for a signal, as the pod of a DaemonSet must"},
		},
		Action: func(ctx *cli.Context) error {
			if err := options.NoArguments(ctx); err != nil {
				return err
			}
			if o.installDir == "" {
				return cmdline.Usagef("--install is missing: want the DIR that the agent was started with")
			}
			if _, err := o.complete(ctx); err != nil {
				return err
			}
			i, err := o.onHost()
			if err != nil {
				return err
			}
			// It takes some seconds, and a pod that is deleted has them.
			was, err := i.Uninstall(context.WithoutCancel(ctx.Context))
			if err != nil {
				return err
			}
			// An agent that was killed has left it.
			if err := os.Remove(agentstatus.Path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			if was {
				i.Log.Info("uninstalled lxcfs", "dir", i.Dir)
			} else {
				i.Log.Info("nothing is installed", "dir", i.Dir)
			}
			if stay {
				<-ctx.Context.Done()
			}
			return nil
		},
	}
}
