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
	var reopen sys.File
	var counters *meter.Meter
	for _, f := range worker.Files {
		switch f.Name {
		case reopenName:
			reopen = f.File
		case meter.FileName:
			if counters, err = meter.Open(f.File); err != nil {
				return err
			}
		}
	}
	filesystem, err := lxcfs.New(lxcfs.Options{
		Memory: view.MemOptions{Swap: !c.disableSwap, Zswap: !c.disableZswap},
		Quota:  !c.disableCFS, Loadavg: !c.disableLoadavg,
		ProcRoot: "/proc", SysRoot: "/sys", StateFile: filepath.Join(c.stateDir(), "guests"),
		Reopen: reopen, Meter: counters, Log: c.log, HostDiskName: c.rootDisk == rootDiskHost,
	})
	if err != nil {
		return err
	}
	if err := worker.Ready(); err != nil {
		return fmt.Errorf("notify supervisor: %w", err)
	}
	debug.SetGCPercent(gcPercent)
	// A thread that returns from a system call continues at once.
	runtime.GOMAXPROCS(runtime.NumCPU() + moreThreads)
	commands := make(chan supervise.Command)
	go func() {
		defer close(commands)
		for {
			command, ok := worker.Next()
			if !ok {
				return
			}
			commands <- command
		}
	}()
	return obey(commands, worker, filesystem, session)
}

// obey executes commands of the supervisor until the command Leave, or until the supervisor or the
// session ends.
func obey(
	commands <-chan supervise.Command, worker *supervise.Worker, filesystem *lxcfs.FS,
	session *fusedev.Session,
) error {
	var conn *fusedev.Conn
	over := make(chan struct{})
	for {
		select {
		case <-over:
			return nil // unmounted everywhere
		case command, ok := <-commands:
			switch {
			case !ok:
				return nil
			case command == supervise.Leave:
				if conn != nil {
					conn.Drain()
				}
				return nil
			case command == supervise.Toggle:
				filesystem.ToggleVirtualisation()
			case command == supervise.Ping && conn != nil && conn.Answers():
				if err := worker.Alive(); err != nil {
					return err
				}
			case command == supervise.Serve && conn == nil:
				var err error
				if conn, err = filesystem.Serve(session); err != nil {
					return err
				}
				go func() {
					conn.Wait()
					close(over)
				}()
				if err := worker.Serving(); err != nil {
					return err
				}
			}
		}
	}
}
