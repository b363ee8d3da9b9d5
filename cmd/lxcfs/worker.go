package main

import (
	"fmt"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"syscall"

	"palisade/internal/linux/sys"
	"palisade/internal/lxcfs"
	"palisade/internal/lxcfs/calls"
	"palisade/internal/lxcfs/fusedev"
	"palisade/internal/lxcfs/meter"
	"palisade/internal/lxcfs/supervise"
	"palisade/internal/lxcfs/view"
)

// gcPercent is the GOGC of workers, half of the default. Reads allocate almost nothing, so earlier
// collections cost nothing, and save some megabytes.
const gcPercent = 50

// work serves the supervisor's session until the supervisor replaces the worker or the session
// ends.
func work(c *config) error {
	// A terminal sends signals to both processes. The supervisor handles them.
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2)
	if err := sys.NameProcess("lxcfs-worker"); err != nil { // it was executed by descriptor
		return err
	}
	worker, err := supervise.Connect()
	if err != nil {
		return err
	}
	session, err := fusedev.OpenSession(worker.Files)
	if err != nil {
		return err
	}
	options := lxcfs.Options{
		Memory: view.MemOptions{Swap: !c.disableSwap, Zswap: !c.disableZswap},
		Quota:  !c.disableCFS, Loadavg: !c.disableLoadavg,
		ProcRoot: "/proc", SysRoot: "/sys", StateFile: filepath.Join(c.stateDir(), "guests"),
		Meter: meter.NewPrivate(), Log: c.log, HostDiskName: c.rootDisk == rootDiskHost,
	}
	for _, f := range worker.Files {
		switch f.Name {
		case reopenName:
			options.Reopen = f.File
		case meter.FileName:
			if options.Meter, err = meter.Open(f.File); err != nil {
				return err
			}
		}
	}
	filesystem, err := lxcfs.New(options)
	if err != nil {
		return err
	}
	answers, err := calls.Open(worker.Files, filesystem)
	if err != nil {
		return err
	}
	if err := worker.Tell(supervise.Ready); err != nil {
		return fmt.Errorf("notify supervisor: %w", err)
	}
	debug.SetGCPercent(gcPercent)
	// A thread that returns from a system call continues at once.
	runtime.GOMAXPROCS(runtime.NumCPU() + moreThreads)
	return obey(worker, filesystem, session, answers)
}

// obey executes commands of the supervisor until the command Leave, or until the supervisor or the
// session ends.
func obey(
	worker *supervise.Worker, filesystem *lxcfs.FS, session *fusedev.Session, answers *calls.Server,
) error {
	var conn *fusedev.Conn
	unmounted := make(chan struct{})
	commands := worker.Commands()
	for {
		var command supervise.Command
		select {
		case <-unmounted:
			return nil
		case command = <-commands:
		}
		var err error
		switch {
		case command == supervise.Gone:
			return nil
		case command == supervise.Leave:
			if conn != nil {
				conn.Drain()
			}
			return nil
		case command == supervise.Toggle:
			filesystem.ToggleVirtualisation()
		case command == supervise.Ping && conn != nil && conn.Answers():
			err = worker.Tell(supervise.Alive)
		case command == supervise.Serve && conn == nil:
			if conn, err = filesystem.Serve(session); err == nil {
				answers.Start()
				go func() {
					conn.Wait()
					close(unmounted)
				}()
				err = worker.Tell(supervise.Serving)
			}
		}
		if err != nil {
			return err
		}
	}
}
