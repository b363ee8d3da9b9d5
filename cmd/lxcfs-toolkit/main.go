// Command lxcfs-toolkit puts the files of lxcfs into containers and takes them out again.
package main

import (
	"context"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/urfave/cli/v2"

	"palisade/internal/cmdline"
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
	app := cmdline.NewApp("lxcfs-toolkit", "put the files of lxcfs into containers and take them out again",
		"lxcfs-toolkit [OPTIONS] COMMAND [COMMAND_OPTIONS]", os.Stdout, nil,
		remountCommand(g), umountCommand(g), checkCommand(g), prestartCommand(g), poststopCommand(g), listCommand(g), topCommand(g), doctorCommand(g), hookCommand(g),
		runtimeCommand(g), hookSpecCommand(g), upgradeCommand(g))
	app.UseShortOptionHandling = true
	app.Flags, app.Before, app.After = g.flags(), g.complete, g.close
	return app
}
