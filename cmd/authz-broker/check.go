package main

import (
	"fmt"
	"os/exec"

	"github.com/urfave/cli/v2"

	"palisade/internal/authz/action"
	"palisade/internal/authz/policy"
)

// daemons holds the program names of the engines that ask plug-ins.
var daemons = map[action.Engine]string{action.Docker: "dockerd", action.Isulad: "isulad"}

func checkCommand(o *serveOptions) *cli.Command {
	return &cli.Command{
		Name:      "check",
		Usage:     "find mistakes in a policy file (exit code 1), and warn of what may not be intended",
		UsageText: "authz-broker check [--engine ENGINE] [FILE]",
		Flags: []cli.Flag{&cli.StringFlag{Name: "engine", Usage: "warn about clients of this engine, " +
			"docker, podman or isulad (default: docker and isulad, or the one on this host)"}},
		Action: func(ctx *cli.Context) error {
			if err := checkArguments(ctx, 1); err != nil {
				return err
			}
			if err := o.validate(ctx.IsSet); err != nil {
				return err
			}
			file := ctx.Args().First()
			if file == "" {
				file = ctx.String("policy-file")
			}
			var engines []action.Engine
			if ctx.String("engine") != "" {
				engine, err := selectedEngine(ctx)
				if err != nil {
					return err
				}
				engines = []action.Engine{engine}
			} else {
				for engine, daemon := range daemons {
					if _, err := exec.LookPath(daemon); err == nil {
						engines = append(engines, engine)
					}
				}
			}
			policies, err := policy.Load(file)
			if err != nil {
				return err
			}
			warnings := policies.Lint(engines...)
			for _, w := range warnings {
				fmt.Fprintf(ctx.App.Writer, "%s:%d: warning: %s\n", file, w.Line, w.Text)
			}
			writable, err := policy.IsWritableByOthers(file)
			if err != nil {
				return err
			}
			count := len(warnings)
			if writable {
				count++
				fmt.Fprintf(ctx.App.Writer, "%s: warning: others than the owner can write the file\n", file)
			}
			_, err = fmt.Fprintf(ctx.App.Writer, "%s: policies: %d, warnings: %d\n",
				file, len(policies.Policies), count)
			return err
		},
	}
}
