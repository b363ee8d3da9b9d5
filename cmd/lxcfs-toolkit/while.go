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
	// whileMark is in the environment of the process in which --while-pid has the command run.
	whileMark = "PALISADE_WHILE"
	// lookTime is how often it is looked whether the process has ended, killTime how long a process that is killed may take.
	lookTime = 20 * time.Millisecond
	killTime = 100 * time.Millisecond
)

// runWhile runs this command line in a process of its own, and gives up when the process pid ends, or ctx. Who waits for an lxcfs that
// ended after it had taken the question cannot be killed until the next one answers: that process is left behind, and whoever is to start
// the next waits for this one alone.
func runWhile(ctx context.Context, pid int) error {
	if pid < 1 {
		return cmdline.Usagef("--while-pid %d is no process", pid)
	}
	server, err := os.FindProcess(pid) // by a pidfd where there are some (Linux 5.3)
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
	for tick := time.Tick(lookTime); ; {
		select {
		case err := <-ended:
			return exitOf(err)
		case <-ctx.Done():
			err = context.Cause(ctx)
		case <-tick:
			if !errors.Is(server.Signal(syscall.Signal(0)), os.ErrProcessDone) {
				continue
			}
			err = fmt.Errorf("gave up: process %d has ended", pid)
		}
		cmd.Process.Kill() // to no effect, if it has ended
		select {
		case <-ended:
		case <-time.After(killTime):
		}
		return err
	}
}

// exitOf makes this program end as the other has ended, which has said why.
func exitOf(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Exited() {
		return cli.Exit("", exit.ExitCode())
	} else if err != nil {
		return err
	}
	return cli.Exit("", 0)
}
