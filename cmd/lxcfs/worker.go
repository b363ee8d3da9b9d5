package main

import (
	"fmt"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"syscall"

	"palisade/internal/fusedev"
	"palisade/internal/lxcfs"
	"palisade/internal/meter"
	"palisade/internal/supervise"
	"palisade/internal/sys"
	"palisade/internal/view"
)

// percentOfAll is how much garbage there may be beside what is used, in percent of it: half of what Go allows. Reads make next to none,
// so that collecting it earlier costs nothing, and saves some megabytes.
const percentOfAll = 50

// work serves the supervisor's session until the supervisor wants another worker to, or the session ends.
func work(c *config) error {
	// A terminal sends its signals to both; they are the supervisor's.
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
		ProcRoot: "/proc", SysRoot: "/sys", StateFile: filepath.Join(c.stateDir(), "guests"), Reopen: reopen, Meter: counters,
		Log: c.log, HostDiskName: c.rootDisk == rootDiskHost,
	})
	if err != nil {
		return err
	}
	if err := worker.Ready(); err != nil {
		return fmt.Errorf("tell the supervisor: %w", err)
	}
	debug.SetGCPercent(percentOfAll)
	runtime.GOMAXPROCS(runtime.NumCPU() + moreThreads) // a thread that comes back from the kernel does not wait for its turn
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

// obey does what the supervisor wants, until it is to leave, or the supervisor is gone.
func obey(commands <-chan supervise.Command, worker *supervise.Worker, filesystem *lxcfs.FS, session *fusedev.Session) error {
	var conn *fusedev.Conn
	over := make(chan struct{})
	for {
		select {
		case <-over:
			return nil // unmounted, and in no container any more
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
