// Command userns-shift changes the owners of root file systems for containers whose root is an
// ordinary user of the host.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"palisade/internal/cli/cmdline"
)

const program = "userns-shift"

func main() {
	ctx, stop := signal.NotifyContext(
		context.Background(), syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	// The reader of stderr may close it during a shift. The signal is caught, not ignored, since the
	// runtime that this process executes would inherit that.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	err := newProgram(os.Stdout, os.Stderr).RunContext(ctx, expandName(os.Args))
	stop()
	os.Exit(cmdline.Report(program, err, os.Stderr))
}

// expandName inserts the command for another name of the program: userns-shift-runc stands for the
// wrapper of runc.
func expandName(args []string) []string {
	runtime, ok := strings.CutPrefix(filepath.Base(args[0]), program+"-")
	if !ok || runtime == "" {
		return args
	}
	return append([]string{args[0], "runtime", "--runtime", runtime, "--"}, args[1:]...)
}

func newProgram(stdout, stderr io.Writer) *cmdline.Program {
	p := cmdline.NewProgram(program,
		"change the owners of root file systems for containers with user namespaces",
		"userns-shift COMMAND [OPTIONS] [ARGUMENTS]", stdout, nil,
		shiftCommand(stderr), unshiftCommand(stderr), statusCommand(stderr),
		checkCommand(), verifyCommand(),
		mountCommand(stderr), umountCommand(), hookCommand(stderr), runtimeCommand(stderr),
		hookSpecCommand(), rangesCommand())
	p.Wrappers = []string{"runtime"}
	return p
}
