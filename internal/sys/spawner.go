package sys

import (
	"fmt"
	"os"
	"runtime"
	"slices"

	"golang.org/x/sys/unix"
)

// Capabilities that a program may keep (capabilities(7)).
const (
	CapDACReadSearch = unix.CAP_DAC_READ_SEARCH
	CapSysPtrace     = unix.CAP_SYS_PTRACE
	CapSysAdmin      = unix.CAP_SYS_ADMIN
)

// Spawner starts programs with fewer privileges than this process has. They end with it.
type Spawner struct{ calls chan func() }

// NewSpawner makes one whose programs have no capabilities but those that are given, as far as this process has them, and
// can never get others (PR_SET_NO_NEW_PRIVS, PR_CAPBSET_DROP).
func NewSpawner(keep ...int) (*Spawner, error) {
	s := &Spawner{make(chan func())}
	made := make(chan error)
	go func() {
		// Both are properties of a thread, and inherited from it. A program that it starts lives as long as it does.
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

// Start starts a program with the files, as PassedFiles finds them, and returns its process. It shares standard input,
// output and error with this one.
func (s *Spawner) Start(program string, args, env []string, files []NamedFile) (p *os.Process, err error) {
	done := make(chan struct{})
	s.calls <- func() {
		p, err = startWith(program, args, env, files)
		close(done)
	}
	<-done
	return p, err
}

func restrictThread(keep []int) error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return os.NewSyscallError("prctl PR_SET_NO_NEW_PRIVS", err)
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var own [2]unix.CapUserData
	if err := unix.Capget(&header, &own[0]); err != nil {
		return os.NewSyscallError("capget", err)
	}
	if own[0].Effective&(1<<unix.CAP_SETPCAP) == 0 {
		return nil // it may not even drop them
	}
	for c := range unix.CAP_LAST_CAP + 1 {
		if slices.Contains(keep, c) {
			continue
		}
		err := unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(c), 0, 0, 0)
		if err != nil && err != unix.EINVAL { // the kernel knows fewer
			return fmt.Errorf("drop capability %d: %w", c, os.NewSyscallError("prctl PR_CAPBSET_DROP", err))
		}
	}
	return nil
}
