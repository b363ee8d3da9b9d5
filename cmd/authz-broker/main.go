// Command authz-broker decides by policy which user may have a container engine do what.
package main

import (
	"io"
	"os"

	"github.com/urfave/cli/v2"

	"palisade/internal/cmdline"
	"palisade/internal/version"
)

const defaultPolicyFile = "/var/lib/authz-broker/policy.json"

func main() {
	os.Exit(cmdline.Report("authz-broker", newApp(os.Stdout).Run(os.Args), os.Stderr))
}

func newApp(stdout io.Writer) *cli.App {
	usage := func(_ *cli.Context, err error, _ bool) error {
		return cmdline.Usagef("%w (authz-broker --help lists the options)", err)
	}
	app := &cli.App{
		Name:            "authz-broker",
		Usage:           "decide by policy which user may have a container engine do what",
		UsageText:       "authz-broker [OPTIONS] COMMAND [COMMAND_OPTIONS]",
		Version:         version.String(),
		HideHelpCommand: true,
		Flags: []cli.Flag{
			&cli.StringFlag{
				Name: "policy-file", Value: defaultPolicyFile, EnvVars: []string{"AUTHZ-POLICY-FILE"},
				Usage: "the policies, a JSON object on each line",
			},
		},
		Writer:         stdout,
		ErrWriter:      io.Discard, // errors are reported once, by cmdline.Report
		ExitErrHandler: func(*cli.Context, error) {},
		OnUsageError:   usage,
		Action: func(ctx *cli.Context) error {
			if ctx.NArg() > 0 {
				return cmdline.Usagef("command %q is unknown (authz-broker --help lists them)", ctx.Args().First())
			}
			return cmdline.Usagef("COMMAND is missing (authz-broker --help lists them)")
		},
		Commands: []*cli.Command{checkCommand(), explainCommand(), actionsCommand()},
	}
	for _, command := range app.Commands {
		command.OnUsageError = usage
		command.HideHelpCommand = true
	}
	return app
}

// noMoreArguments refuses more than n arguments.
func noMoreArguments(ctx *cli.Context, n int) error {
	if ctx.NArg() > n {
		return cmdline.Usagef("argument %q is one too many", ctx.Args().Get(n))
	}
	return nil
}
