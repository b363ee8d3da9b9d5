// Command lxcfs-toolkit mounts the files of lxcfs in containers and unmounts them.
package main

import (
	"context"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"palisade/internal/cli/cmdline"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	p, args := programFor(os.Args)
	err := p.RunContext(ctx, args)
	stop()
	code := cmdline.Report("lxcfs-toolkit", err, os.Stderr)
	if isChild() {
		reportExit(code)
	}
	os.Exit(code)
}

// programFor returns the program and its command line by the name args[0]: lxcfs-hook runs the
// command hook, lxcfs-runc wraps runc.
func programFor(args []string) (*cmdline.Program, []string) {
	p := newProgram()
	switch filepath.Base(args[0]) {
	case "lxcfs-hook":
		p.DefaultCommand = "hook"
	case "lxcfs-runc":
		args = append([]string{args[0], "runtime", "--runtime", "runc", "--"}, args[1:]...)
	}
	return p, args
}

func newProgram() *cmdline.Program {
	g := newGlobals()
	p := cmdline.NewProgram("lxcfs-toolkit",
		"mount the files of lxcfs in containers, and unmount them",
		"lxcfs-toolkit [OPTIONS] COMMAND [COMMAND_OPTIONS]", os.Stdout, nil,
		remountCommand(g), umountCommand(g), checkCommand(g), prestartCommand(g), bindCommand(g),
		poststopCommand(g), listCommand(g), forwardCommand(g, "top"), forwardCommand(g, "doctor"),
		hookCommand(g), runtimeCommand(g), hookSpecCommand(g), upgradeCommand(g))
	p.Wrappers, p.Forwards = []string{"runtime"}, []string{"top", "doctor"}
	p.Flags, p.Before, p.After = g.flags(), g.complete, g.Close
	return p
}
