// Command authz-broker decides by policy which user may have a container engine do what.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/urfave/cli/v2"

	"palisade/internal/cmdline"
	"palisade/internal/version"
)

const defaultPolicyFile = "/var/lib/authz-broker/policy.json"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	err := newApp(os.Stdout).RunContext(ctx, os.Args)
	stop()
	os.Exit(cmdline.Report("authz-broker", err, os.Stderr))
}

func newApp(stdout io.Writer) *cli.App {
	usage := func(_ *cli.Context, err error, _ bool) error {
		return cmdline.Usagef("%w (authz-broker --help lists the options)", err)
	}
	o := new(serveOptions)
	app := &cli.App{
		Name:            "authz-broker",
		Usage:           "decide by policy which user may have a container engine do what",
		UsageText:       "authz-broker [OPTIONS]                            answer the engines\nauthz-broker [OPTIONS] COMMAND [COMMAND_OPTIONS]",
		Version:         version.String(),
		HideHelpCommand: true,
		Flags: append([]cli.Flag{
			&cli.StringFlag{
				Name: "policy-file", Value: defaultPolicyFile, EnvVars: []string{"AUTHZ-POLICY-FILE"},
				Usage: "the policies, a JSON object on each line",
			},
		}, o.flags()...),
		Writer:         stdout,
		ErrWriter:      io.Discard, // errors are reported once, by cmdline.Report
		ExitErrHandler: func(*cli.Context, error) {},
		OnUsageError:   usage,
		Action: func(ctx *cli.Context) error {
			if ctx.NArg() > 0 {
				return cmdline.Usagef("command %q is unknown (authz-broker --help lists them)", ctx.Args().First())
			}
			return o.serve(ctx)
		},
		Commands: []*cli.Command{checkCommand(), explainCommand(), actionsCommand(), certsCommand()},
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
