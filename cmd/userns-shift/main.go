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

	"palisade/internal/cmdline"
)

const program = "userns-shift"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	// Who reads stderr may be gone: the work goes on. Ignored, the signal would be so by programs that are executed, too.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	err := newProgram(os.Stdout, os.Stderr).RunContext(ctx, expandName(os.Args))
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

func newProgram(stdout, stderr io.Writer) *cmdline.Program {
	p := cmdline.NewProgram(program,
		"change the owners of root file systems for containers with user namespaces",
		"userns-shift COMMAND [OPTIONS] [ARGUMENTS]", stdout, nil,
		shiftCommand(stderr), unshiftCommand(stderr), statusCommand(stderr),
		checkCommand(), verifyCommand(),
		mountCommand(stderr), umountCommand(), hookCommand(stderr), runtimeCommand(stderr), hookSpecCommand())
	p.Wrappers = []string{"runtime"}
	return p
}
