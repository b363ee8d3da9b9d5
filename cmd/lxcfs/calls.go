package main

import (
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"

	"palisade/internal/inject/probe"
	"palisade/internal/linux/sys"
	"palisade/internal/lxcfs/calls"
	"palisade/internal/lxcfs/supervise"
)

// openRegistry opens the registry of the containers whose system calls are answered, with the files
// that the service manager has kept.
func (c *config) openRegistry(kept []sys.NamedFile) (*calls.Registry, error) {
	// A spawner needs a thread: there is none as long as no container has the views.
	spawner := sync.OnceValues(func() (*sys.Spawner, error) {
		// The writer opens the memory of processes of any user.
		s, err := sys.NewSpawner(sys.CapSysPtrace, sys.CapDACOverride)
		if err != nil {
			return nil, err
		}
		return s, s.SetTimerSlack(workerTimerSlack)
	})
	return calls.NewRegistry(calls.Options{
		Path: c.callsSocket(), Stored: kept, Keep: c.keepMount, Log: c.log,
		StartWriter: func(environment string, files []sys.NamedFile) (*os.Process, error) {
			s, err := spawner()
			if err != nil {
				return nil, err
			}
			env := append(os.Environ(), environment)
			return s.StartLasting("/proc/self/exe", os.Args, env, files)
		},
	})
}

func (c *config) callsSocket() string { return filepath.Join(c.stateDir(), probe.CallsSocket) }

// newFeed adapts Registry.NewFeed to supervise.Supervisor.
func newFeed(r *calls.Registry) func() (supervise.Feed, []sys.NamedFile, error) {
	return func() (supervise.Feed, []sys.NamedFile, error) { return r.NewFeed() }
}

// writeAnswers is the main function of the writer. It outlives the supervisor, and does not hold its
// standard streams and its directory.
func writeAnswers() error {
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2)
	if err := sys.NameProcess("lxcfs-writer"); err != nil {
		return err
	}
	if err := sys.DropStandardStreams(); err != nil {
		return err
	}
	if err := os.Chdir("/"); err != nil {
		return err
	}
	return calls.Write()
}
