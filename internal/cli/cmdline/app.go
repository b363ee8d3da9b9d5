package cmdline

import (
	"io"

	"github.com/urfave/cli/v2"

	"palisade/internal/cli/version"
)

// NewProgram returns a program that fails with a UsageError on a mistake in the command line. It
// calls run if no command is given; if run is nil a command is required.
func NewProgram(
	program, usage, usageText string, stdout io.Writer, run cli.ActionFunc,
	commands ...*cli.Command,
) *Program {
	onUsageError := func(_ *cli.Context, err error, _ bool) error {
		return Usagef("%w (%s --help lists the options)", err, program)
	}
	for _, command := range commands {
		command.OnUsageError = onUsageError
		command.HideHelpCommand = true
	}
	return &Program{App: &cli.App{
		Name:            program,
		Usage:           usage,
		UsageText:       usageText,
		Version:         version.String(),
		HideHelpCommand: true,
		Writer:          stdout,
		ErrWriter:       io.Discard, // errors are reported once, by Report
		ExitErrHandler:  func(*cli.Context, error) {},
		OnUsageError:    onUsageError,
		Action: func(ctx *cli.Context) error {
			if ctx.NArg() > 0 && len(commands) > 0 {
				return Usagef("command %q is unknown (%s --help lists them)", ctx.Args().First(), program)
			}
			if run == nil {
				return Usagef("COMMAND is missing (%s --help lists them)", program)
			}
			return run(ctx)
		},
		Commands: commands,
	}}
}
