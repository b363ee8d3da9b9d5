package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"
)

const (
	// whileMark is set in the environment of the child of runInChild.
	whileMark = "PALISADE_WHILE"
	// pollTime is the interval of checks whether the process has ended, killTime the time that a
	// killed child gets to end.
	pollTime = 20 * time.Millisecond
	killTime = 100 * time.Millisecond
)

// isChild reports whether this process was started by runInChild.
func isChild() bool { return os.Getenv(whileMark) != "" }

// runInChild runs this command line in a child process. It returns when the child reports its exit
// code or ends, when the process pid ends (unless pid is 0), or when ctx ends. A thread that waits
// for a file system that does not answer (lxcfs, or one that a container has mounted) cannot be
// killed, nor can its process end before it: runInChild may leave the child behind, and systemd,
// which waits only for this process, can start the next daemon.
func runInChild(ctx context.Context, pid int) error {
	isServing := func() bool { return true }
	if pid != 0 {
		server, err := os.FindProcess(pid) // a pidfd since Linux 5.3
		if err != nil {
			return err
		}
		defer server.Release()
		isServing = func() bool {
			return !errors.Is(server.Signal(syscall.Signal(0)), os.ErrProcessDone)
		}
	}
	from, to, err := os.Pipe()
	if err != nil {
		return err
	}
	defer from.Close()
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), whileMark+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.ExtraFiles = []*os.File{to} // exitFD
	// Pdeathsig kills the child when the thread that started it ends.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	err = cmd.Start()
	to.Close()
	if err != nil {
		return err
	}
	ended, reported := make(chan error, 1), make(chan int, 1)
	go func() { ended <- cmd.Wait() }()
	go func() {
		var code [1]byte
		if _, err := io.ReadFull(from, code[:]); err == nil {
			reported <- int(code[0])
		}
	}()
	for tick := time.Tick(pollTime); ; {
		select {
		case err := <-ended:
			if cmd.ProcessState != nil && cmd.ProcessState.Exited() {
				return cli.Exit("", cmd.ProcessState.ExitCode()) // the child has printed the reason
			}
			return err
		case code := <-reported:
			err = cli.Exit("", code)
		case <-ctx.Done():
			err = context.Cause(ctx)
		case <-tick:
			if isServing() {
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

// exitFD is the descriptor to which the child writes its exit code as one byte.
const exitFD = 3

// reportExit reports the exit code of this child. It closes the standard streams first, since their
// readers may wait for their end.
func reportExit(code int) {
	for _, f := range []*os.File{os.Stdin, os.Stdout, os.Stderr} {
		f.Close()
	}
	os.NewFile(exitFD, "exit code").Write([]byte{byte(code)})
}
