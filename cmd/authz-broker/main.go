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
)

const defaultPolicyFile = "/var/lib/authz-broker/policy.json"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	err := newProgram(os.Stdout).RunContext(ctx, os.Args)
	stop()
	os.Exit(cmdline.Report("authz-broker", err, os.Stderr))
}

func newProgram(stdout io.Writer) *cmdline.Program {
	o := new(serveOptions)
	p := cmdline.NewProgram("authz-broker",
		"decide by policy which user may have a container engine do what",
		"authz-broker [OPTIONS]                            answer the engines\nauthz-broker [OPTIONS] COMMAND [COMMAND_OPTIONS]",
		stdout, o.serve, checkCommand(o), explainCommand(), actionsCommand(), certsCommand())
	p.Flags = append([]cli.Flag{
		&cli.StringFlag{
			Name: "policy-file", Value: defaultPolicyFile, EnvVars: []string{"AUTHZ-POLICY-FILE"},
			Usage: "the policies, a JSON object on each line",
		},
	}, o.flags()...)
	return p
}

// noMoreArguments refuses more than n arguments.
func noMoreArguments(ctx *cli.Context, n int) error {
	if ctx.NArg() > n {
		return cmdline.Usagef("argument %q is one too many", ctx.Args().Get(n))
	}
	return nil
}
