package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"palisade/internal/cmdline"
)

const (
	// whileMark is set in the environment of the child process that runs the command of --while-pid.
	whileMark = "PALISADE_WHILE"
	// pollTime is the interval of checks whether the process has ended, killTime the time that a
	// killed child gets to end.
	pollTime = 20 * time.Millisecond
	killTime = 100 * time.Millisecond
)

// runWhile runs this command line in a child process, and fails when the process pid or ctx ends. A
// process that waits for an lxcfs that has ended after it read the request cannot be killed until
// the next daemon answers. So runWhile may leave the child behind, and systemd, which waits for
// this process alone, can start the next daemon.
func runWhile(ctx context.Context, pid int) error {
	if pid < 1 {
		return cmdline.Usagef("--while-pid %d is no process", pid)
	}
	server, err := os.FindProcess(pid) // a pidfd since Linux 5.3
	if err != nil {
		return err
	}
	defer server.Release()
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), whileMark+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for tick := time.Tick(pollTime); ; {
		select {
		case err := <-ended:
			return exitOf(err)
		case <-ctx.Done():
			err = context.Cause(ctx)
		case <-tick:
			if !errors.Is(server.Signal(syscall.Signal(0)), os.ErrProcessDone) {
				continue
			}
			err = fmt.Errorf("process %d has ended", pid)
		}
		cmd.Process.Kill() // no effect if the child has ended
		select {
		case <-ended:
		case <-time.After(killTime):
		}
		return err
	}
}

// exitOf returns an error with the exit code of the child, which has printed the reason.
func exitOf(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Exited() {
		return cli.Exit("", exit.ExitCode())
	} else if err != nil {
		return err
	}
	return cli.Exit("", 0)
}
