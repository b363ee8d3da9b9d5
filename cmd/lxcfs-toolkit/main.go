// Command lxcfs-toolkit puts the files of lxcfs into containers and takes them out again.
package main

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/urfave/cli/v2"

	"palisade/internal/cmdline"
	"palisade/internal/version"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	err := newApp().RunContext(ctx, expandName(os.Args))
	stop()
	os.Exit(cmdline.Report("lxcfs-toolkit", err, os.Stderr))
}

// expandName puts in the command that another name of the program stands for.
func expandName(args []string) []string {
	switch filepath.Base(args[0]) {
	case "lxcfs-hook":
		return withCommand(args, "hook")
	case "lxcfs-runc":
		return append([]string{args[0], "runtime", "--runtime", "runc", "--"}, args[1:]...)
	}
	return args
}

// withCommand adds a command behind the global options, unless it is there.
func withCommand(args []string, command string) []string {
	i := 1
	for i < len(args) && strings.HasPrefix(args[i], "-") {
		name, _, joined := strings.Cut(strings.TrimLeft(args[i], "-"), "=")
		takesValue, global := globalOptions[name]
		if !global {
			break
		}
		i++
		if takesValue && !joined {
			i++
		}
	}
	i = min(i, len(args))
	if i < len(args) && args[i] == command {
		return args
	}
	return slices.Insert(slices.Clone(args), i, command)
}

func newApp() *cli.App {
	g := new(globals)
	usage := func(_ *cli.Context, err error, _ bool) error {
		return cmdline.Usagef("%w (lxcfs-toolkit --help lists the options)", err)
	}
	app := &cli.App{
		Name:                   "lxcfs-toolkit",
		Usage:                  "put the files of lxcfs into containers and take them out again",
		UsageText:              "lxcfs-toolkit [OPTIONS] COMMAND [COMMAND_OPTIONS]",
		Version:                version.String(),
		HideHelpCommand:        true,
		UseShortOptionHandling: true,
		Flags:                  g.flags(),
		Before:                 g.complete,
		After:                  g.close,
		Writer:                 os.Stdout,
		ErrWriter:              io.Discard, // errors are reported once, by report
		ExitErrHandler:         func(*cli.Context, error) {},
		OnUsageError:           usage,
		Action: func(ctx *cli.Context) error {
			if ctx.NArg() > 0 {
				return cmdline.Usagef("command %q is unknown (lxcfs-toolkit --help lists them)", ctx.Args().First())
			}
			return cmdline.UsageError{Err: errors.New("COMMAND is missing (lxcfs-toolkit --help lists them)")}
		},
		Commands: []*cli.Command{
			remountCommand(g), umountCommand(g), checkCommand(g), prestartCommand(g), poststopCommand(g), listCommand(g), hookCommand(g),
			runtimeCommand(g), hookSpecCommand(g), upgradeCommand(g),
		},
	}
	for _, command := range app.Commands {
		command.OnUsageError = usage
		command.HideHelpCommand = true
	}
	return app
}
