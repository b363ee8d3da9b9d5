//go:build integration

package ctr

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Traced is how a program has ended whose system calls were counted.
type Traced struct {
	// Calls is how many were begun, Killed tells that the last of them was not carried out: the program was killed there.
	Calls  int
	Killed bool
	// Code is the exit code, if it was not killed.
	Code           int
	Stdout, Stderr string
}

// traceTime bounds a traced program.
const traceTime = time.Minute

// RunTraced runs a program and counts some of its system calls, in all of its threads together (strace counts for each
// thread, which leaves some calls out). The one with the number killAt, from 1 on, kills it instead.
func RunTraced(killAt int, calls []Call, program string, args ...string) (r Traced, err error) {
	line := append([]string{program}, args...)
	var out [2]*os.File
	for i := range out {
		if out[i], err = os.CreateTemp("", "palisade-traced-"); err != nil {
			return r, err
		}
		defer out[i].Close()
		defer os.Remove(out[i].Name())
	}
	done := make(chan error)
	go func() {
		// A tracer is a thread, and the program inherits its filter. It ends with the goroutine.
		runtime.LockOSThread()
		err := installFilter(calls, unix.SECCOMP_RET_TRACE)
		if err == nil {
			err = r.run(killAt, line, out)
		}
		done <- err
	}()
	if err := <-done; err != nil {
		return r, fmt.Errorf("trace %q: %w", line, err)
	}
	for i, text := range []*string{&r.Stdout, &r.Stderr} {
		b, err := io.ReadAll(io.NewSectionReader(out[i], 0, 1<<20))
		if err != nil {
			return r, err
		}
		*text = string(b)
	}
	return r, nil
}

func (r *Traced) run(killAt int, line []string, out [2]*os.File) error {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return err
	}
	defer null.Close()
	pid, err := syscall.ForkExec(line[0], line, &syscall.ProcAttr{
		Env: os.Environ(), Files: []uintptr{null.Fd(), out[0].Fd(), out[1].Fd()}, Sys: &syscall.SysProcAttr{Ptrace: true, Setpgid: true},
	})
	if err != nil {
		return err
	}
	defer time.AfterFunc(traceTime, func() { unix.Kill(pid, unix.SIGKILL) }).Stop() // it may be gone
	var status unix.WaitStatus
	if _, err := unix.Wait4(pid, &status, unix.WALL, nil); err != nil {
		return err
	}
	const options = unix.PTRACE_O_EXITKILL | unix.PTRACE_O_TRACESECCOMP | unix.PTRACE_O_TRACECLONE | unix.PTRACE_O_TRACEEXEC
	if err := unix.PtraceSetOptions(pid, options); err != nil {
		return err
	}
	if err := unix.PtraceCont(pid, 0); err != nil {
		return err
	}
	for {
		stopped, err := unix.Wait4(-pid, &status, unix.WALL, nil) // of the group: other tests have children, too
		if err != nil {
			return err
		}
		if status.Stopped() {
			r.goOn(pid, stopped, killAt, status)
			continue
		}
		if stopped == pid {
			r.Code = status.ExitStatus()
			if status.Signaled() && !r.Killed {
				return fmt.Errorf("it was ended by %v", status.Signal())
			}
			return nil
		}
	}
}

// goOn lets a thread go on that has stopped, or kills the process.
func (r *Traced) goOn(pid, thread, killAt int, status unix.WaitStatus) {
	signal := 0
	switch {
	case status.StopSignal() == unix.SIGTRAP && int(status)>>16 == unix.PTRACE_EVENT_SECCOMP:
		if r.Calls++; r.Calls == killAt {
			r.Killed = true
		}
	case status.StopSignal() != unix.SIGTRAP && status.StopSignal() != unix.SIGSTOP:
		signal = int(status.StopSignal())
	}
	if r.Killed {
		unix.Kill(pid, unix.SIGKILL) // it is ours, and not waited for yet
		return
	}
	unix.PtraceCont(thread, signal) // it may have been ended by another one
}
