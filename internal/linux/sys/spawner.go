package sys

import (
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Spawner starts programs with fewer capabilities than this process has. The kernel kills those
// of Start when this process ends.
type Spawner struct{ calls chan func() }

// NewSpawner returns a Spawner whose programs have at most the capabilities in keep, and can never
// gain others (PR_SET_NO_NEW_PRIVS, PR_CAPBSET_DROP).
func NewSpawner(keep ...int) (*Spawner, error) {
	s := &Spawner{make(chan func())}
	made := make(chan error)
	go func() {
		// Both are properties of a thread, and so is the parent of PR_SET_PDEATHSIG.
		runtime.LockOSThread()
		err := restrictThread(keep)
		made <- err
		for err == nil {
			call := <-s.calls
			call()
		}
	}()
	return s, <-made
}

// SetTimerSlack sets the time by which the kernel may prolong timed waits of the programs that are
// started later (PR_SET_TIMERSLACK).
func (s *Spawner) SetTimerSlack(slack time.Duration) (err error) {
	s.call(func() {
		err = unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(slack.Nanoseconds()), 0, 0, 0)
	})
	return os.NewSyscallError("prctl PR_SET_TIMERSLACK", err)
}

// call runs f on the Spawner's thread.
func (s *Spawner) call(f func()) {
	done := make(chan struct{})
	s.calls <- func() {
		f()
		close(done)
	}
	<-done
}

// Start starts a program with the files, which it gets from PassedFiles. It shares standard input,
// output and error with this process.
func (s *Spawner) Start(
	program string, args, env []string, files []NamedFile,
) (*os.Process, error) {
	return s.start(program, args, env, files, syscall.SIGKILL)
}

// StartLasting is like Start for a program that the kernel does not kill when this process ends.
func (s *Spawner) StartLasting(
	program string, args, env []string, files []NamedFile,
) (*os.Process, error) {
	return s.start(program, args, env, files, 0)
}

func (s *Spawner) start(
	program string, args, env []string, files []NamedFile, deathSignal syscall.Signal,
) (p *os.Process, err error) {
	var names []string
	fds := []uintptr{0, 1, 2}
	for _, f := range files {
		names = append(names, f.Name)
		fds = append(fds, uintptr(f.File.Fd()))
	}
	env = append(env, "LISTEN_FDS="+strconv.Itoa(len(files)),
		"LISTEN_FDNAMES="+strings.Join(names, ":"))
	attr := &syscall.ProcAttr{
		Env: env, Files: fds, Sys: &syscall.SysProcAttr{Pdeathsig: deathSignal},
	}
	pid := 0
	s.call(func() { pid, err = syscall.ForkExec(program, args, attr) })
	if err != nil {
		return nil, &os.PathError{Op: "start", Path: program, Err: err}
	}
	return os.FindProcess(pid)
}
