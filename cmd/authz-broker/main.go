// Command authz-broker decides by policy which requests of users container engines carry out.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/urfave/cli/v2"

	"palisade/internal/authz/policy"
	"palisade/internal/cli/cmdline"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	err := newProgram(os.Stdout).RunContext(ctx, os.Args)
	stop()
	os.Exit(cmdline.Report("authz-broker", err, os.Stderr))
}

func newProgram(stdout io.Writer) *cmdline.Program {
	o := new(serveOptions)
	p := cmdline.NewProgram("authz-broker",
		"decide by policy which requests of users container engines carry out",
		"authz-broker [OPTIONS]                            answer the engines\n"+
			"authz-broker [OPTIONS] COMMAND [COMMAND_OPTIONS]",
		stdout, o.serve, frontCommand(o), checkCommand(o), explainCommand(),
		actionsCommand(), certsCommand(), connectCommand(), learnCommand(os.Stderr),
		importCommand(os.Stdin, os.Stderr))
	p.Flags = append([]cli.Flag{
		&cli.StringFlag{Name: "policy-file", Value: policy.DefaultFile,
			EnvVars: []string{"AUTHZ-POLICY-FILE"},
			Usage:   "read the policies from `FILE`, with a JSON object on each line"},
	}, o.flags()...)
	return p
}

func checkArguments(ctx *cli.Context, n int) error {
	if ctx.NArg() > n {
		return cmdline.Usagef("unexpected argument %q", ctx.Args().Get(n))
	}
	return nil
}
