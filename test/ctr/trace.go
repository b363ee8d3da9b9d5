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

// Traced is the result of a program whose system calls were counted.
type Traced struct {
	// Calls is the number of calls begun. Killed reports whether the program was killed before the
	// last of them.
	Calls  int
	Killed bool
	// Code is the exit code, unless Killed.
	Code           int
	Stdout, Stderr string
}

// traceTime is the timeout of a traced program.
const traceTime = time.Minute

// RunTraced runs a program and counts the given system calls over all of its threads (strace counts
// them per thread). It kills the program before the call number killAt, from 1.
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
		// The tracer is a thread, whose filter the program inherits. It ends with the goroutine.
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
	defer time.AfterFunc(traceTime, func() { unix.Kill(pid, unix.SIGKILL) }).Stop() // may have exited
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
		stopped, err := unix.Wait4(-pid, &status, unix.WALL, nil) // only the group, not other tests' children
		if err != nil {
			return err
		}
		if status.Stopped() {
			r.resume(pid, stopped, killAt, status)
			continue
		}
		if stopped == pid {
			r.Code = status.ExitStatus()
			if status.Signaled() && !r.Killed {
				return fmt.Errorf("killed by %v", status.Signal())
			}
			return nil
		}
	}
}

// resume resumes a stopped thread, or kills the process at the call number killAt.
func (r *Traced) resume(pid, thread, killAt int, status unix.WaitStatus) {
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
		unix.Kill(pid, unix.SIGKILL) // not reaped yet
		return
	}
	unix.PtraceCont(thread, signal) // another thread may have ended it
}
