package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"palisade/internal/policy"
)

func checkCommand(o *serveOptions) *cli.Command {
	return &cli.Command{
		Name:      "check",
		Usage:     "find what is wrong in a policy file (exit code 1), and what may not be meant",
		UsageText: "authz-broker check [FILE]",
		Action: func(ctx *cli.Context) error {
			if err := noMoreArguments(ctx, 1); err != nil {
				return err
			}
			if err := o.validate(ctx.IsSet); err != nil {
				return err
			}
			file := ctx.Args().First()
			if file == "" {
				file = ctx.String("policy-file")
			}
			policies, err := policy.Load(file)
			if err != nil {
				return err
			}
			warnings := policies.Lint()
			for _, w := range warnings {
				fmt.Fprintf(ctx.App.Writer, "%s:%d: warning: %s\n", file, w.Line, w.Text)
			}
			if isOpen, err := policy.IsOpen(file); err != nil {
				return err
			} else if isOpen {
				warnings = append(warnings, policy.Warning{})
				fmt.Fprintf(ctx.App.Writer, "%s: warning: others than its owner can write it, and so decide\n", file)
			}
			_, err = fmt.Fprintf(ctx.App.Writer, "%s: policies: %d, warnings: %d\n", file, len(policies.Policies), len(warnings))
			return err
		},
	}
}
