// Command userns-shift changes the owners of root file systems for containers whose root is an ordinary user of the host.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/urfave/cli/v2"

	"palisade/internal/cmdline"
	"palisade/internal/version"
)

const program = "userns-shift"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	// Who reads stderr may be gone: the work goes on. Ignored, the signal would be so by programs that are executed, too.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	err := newApp(os.Stdout, os.Stderr).RunContext(ctx, expandName(os.Args))
	stop()
	os.Exit(cmdline.Report(program, err, os.Stderr))
}

// expandName puts in the command that another name of the program stands for: userns-shift-runc is the wrapper of runc.
func expandName(args []string) []string {
	runtime, ok := strings.CutPrefix(filepath.Base(args[0]), program+"-")
	if !ok || runtime == "" {
		return args
	}
	return append([]string{args[0], "runtime", "--runtime", runtime, "--"}, args[1:]...)
}

func newApp(stdout, stderr io.Writer) *cli.App {
	usage := func(_ *cli.Context, err error, _ bool) error {
		return cmdline.Usagef("%w (userns-shift --help lists the options)", err)
	}
	app := &cli.App{
		Name:            program,
		Usage:           "change the owners of root file systems for containers with user namespaces",
		UsageText:       "userns-shift COMMAND [OPTIONS] [ARGUMENTS]",
		Version:         version.String(),
		HideHelpCommand: true,
		Writer:          stdout,
		ErrWriter:       io.Discard, // errors are reported once, by cmdline.Report
		ExitErrHandler:  func(*cli.Context, error) {},
		OnUsageError:    usage,
		Action: func(ctx *cli.Context) error {
			if ctx.NArg() > 0 {
				return cmdline.Usagef("command %q is unknown (userns-shift --help lists them)", ctx.Args().First())
			}
			return cmdline.Usagef("COMMAND is missing (userns-shift --help lists them)")
		},
		Commands: []*cli.Command{
			shiftCommand(stderr), unshiftCommand(stderr), statusCommand(), checkCommand(), verifyCommand(),
			mountCommand(stderr), umountCommand(), hookCommand(stderr), runtimeCommand(stderr), hookSpecCommand(),
		},
	}
	for _, command := range app.Commands {
		command.OnUsageError = usage
		command.HideHelpCommand = true
	}
	return app
}
