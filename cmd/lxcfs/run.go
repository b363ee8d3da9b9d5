package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"palisade/internal/cli/version"
	"palisade/internal/inject/mounts"
	"palisade/internal/inject/probe"
	"palisade/internal/linux/lockfile"
	"palisade/internal/linux/sys"
	"palisade/internal/lxcfs/calls"
	"palisade/internal/lxcfs/fusedev"
	"palisade/internal/lxcfs/meter"
	"palisade/internal/lxcfs/supervise"
)

// moreThreads is the number of threads, besides one for each CPU, that serve requests: some may
// wait for a slow file of the kernel.
const moreThreads = 4

// run mounts lxcfs, or takes over the mount of an earlier process, and keeps a worker serving it
// until a signal or an unmount.
func run(ctx context.Context, c *config) error {
	if os.Geteuid() != 0 {
		return errors.New("only root can mount lxcfs and read the files of containers")
	}
	debug.SetTraceback("crash") // a panic raises SIGABRT: the exit code 2 means a usage error
	var err error
	if c.program, err = ownProgram(); err != nil {
		return err
	}
	files, err := sys.PassedFiles(false)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(c.stateDir(), 0o755); err != nil {
		return fmt.Errorf("create runtime directory: %w", err)
	}
	lock, err := lockfile.Own(filepath.Join(c.stateDir(), probe.LockFile))
	if err != nil {
		return fmt.Errorf("serve %s: %w", c.mountpoint, err)
	}
	defer lock.Close()
	pidFile, err := lockfile.OwnPIDFile(c.pidFile)
	if err != nil {
		return fmt.Errorf("lock pid file: %w (see --pidfile)", err)
	}
	defer pidFile.Remove()
	if below, err := filepath.Rel(c.mountpoint, c.stateDir()); err == nil && filepath.IsLocal(below) {
		return fmt.Errorf("--runtime-dir %q is below MOUNTPOINT: no file can be created there",
			c.runtimeDir)
	}
	ofCalls, files := calls.Split(files)
	session, held, err := c.openSession(ctx, files)
	if err != nil {
		return err
	}
	registry, err := c.openRegistry(ofCalls)
	if err != nil {
		c.log.Warn("system calls of containers cannot be answered", "err", err)
	}
	return c.supervise(ctx, session, registry, held)
}

// stateDir is the directory for locks, and for state that workers leave to their successors.
func (c *config) stateDir() string { return probe.RuntimeDir(c.runtimeDir, c.mountpoint) }

// openSession takes over the session and the held files that the service manager has stored, or
// mounts a new session.
func (c *config) openSession(ctx context.Context, files []sys.NamedFile) (
	session *fusedev.Session, held []sys.File, err error,
) {
	if len(files) > 0 {
		session, err := takeOver(files, c.mountpoint)
		if err == nil {
			c.log.Info("took over the mount of an earlier process", "mountpoint", c.mountpoint)
			return session, heldFiles(files), nil
		}
		c.log.Warn("cannot take over the mount of an earlier process", "err", err)
		if err := forget(files); err != nil {
			return nil, nil, err
		}
	}
	session, err = c.newSession(ctx)
	return session, nil, err
}

func (c *config) newSession(ctx context.Context) (*fusedev.Session, error) {
	if err := checkMountpoint(c.mountpoint); err != nil {
		return nil, err
	}
	if err := clearMountpoint(ctx, c.mountpoint, c.log); err != nil {
		return nil, err
	}
	dev, err := fusedev.Mount(c.mountpoint, "lxcfs", c.mountOptions...)
	if err != nil {
		return nil, err
	}
	session, err := fusedev.NewSession(dev, runtime.NumCPU()+moreThreads)
	if err != nil {
		return nil, errors.Join(err, c.unmount())
	}
	for _, f := range session.Files() {
		if !c.keepMount {
			break
		}
		if err := sys.StoreFiles(f.Name, f.File); err != nil {
			err = fmt.Errorf("store %s in the service manager: %w", f.Name, err)
			return nil, errors.Join(err, c.unmount())
		}
	}
	return session, nil
}

// workerTimerSlack makes sleeps of 20 µs take this long in workers: the monitor thread of Go's
// runtime sleeps for 20 µs at a time while requests are served, and for some milliseconds after
// the last one. It took most of the CPU time of reads after a pause, and preempted their requests.
const workerTimerSlack = time.Millisecond

// supervise keeps a worker running until a signal or an unmount. registry may be nil.
func (c *config) supervise(
	ctx context.Context, session *fusedev.Session, registry *calls.Registry, held []sys.File,
) error {
	// Workers read text that containers can influence: they have only the capabilities that they need.
	spawner, err := sys.NewSpawner(
		sys.CapSysPtrace,     // /proc/<pid>/ns, root and cgroup of any process
		sys.CapDACReadSearch, // a container's /dev below directories that root cannot search
		sys.CapSysAdmin,      // setns(2) to cgroup namespaces, whose root is the container's cgroup
	)
	if err != nil {
		return fmt.Errorf("drop privileges: %w", err)
	}
	if err := spawner.SetTimerSlack(workerTimerSlack); err != nil {
		return err
	}
	reopener, reopen, err := sys.NewReopener()
	if err != nil {
		return err
	}
	go reopener.Serve(isPressureFile)
	metricsServer := c.startMetrics(ctx)
	defer metricsServer.end()
	files := append(session.Files(), sys.NamedFile{Name: reopenName, File: reopen})
	if metricsServer.memory.IsOpen() {
		files = append(files, sys.NamedFile{Name: meter.FileName, File: metricsServer.memory})
	}
	s := &supervise.Supervisor{
		Spawner: spawner, Program: c.program, Args: os.Args, Dir: c.stateDir(), Log: c.log,
		Files: files,
		Meter: metricsServer.meter, Upgraded: metricsServer.renew, Answered: session.Answered(),
		Probe: func(ctx context.Context) error {
			return sys.ReadInChild(ctx, time.Minute, filepath.Join(c.mountpoint, mounts.ProbeTree, "proc/uptime"))
		},
	}
	if registry != nil {
		s.NewFeed = newFeed(registry)
	}
	events := make(chan supervise.Event)
	go c.listen(ctx, events)
	err = s.Run(events, func() {
		go c.holdFiles(spawner, held)
		if err := probe.RecordServing(c.stateDir()); err != nil {
			c.log.Warn("start time not recorded", "err", err)
		}
		c.log.Info("serving", "mountpoint", c.mountpoint, "version", version.String())
		if _, err := daemon.SdNotify(false, daemon.SdNotifyReady); err != nil {
			c.log.Warn("service manager not notified of the start", "err", err)
		}
	})
	if registry != nil {
		registry.Close()
	}
	switch {
	case err == nil:
		c.log.Info("stopped", "mountpoint", c.mountpoint)
	case errors.Is(err, supervise.ErrOver):
		c.log.Info("unmounted by another process", "mountpoint", c.mountpoint)
		return nil
	case errors.Is(err, supervise.ErrGaveUp):
		if registry != nil {
			registry.StayNative()
		}
		return errors.Join(err, c.degrade())
	case errors.Is(err, supervise.ErrNoStart):
		return errors.Join(err, c.unmount())
	}
	return err
}

func (c *config) listen(ctx context.Context, events chan<- supervise.Event) {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGUSR1, syscall.SIGUSR2)
	signal.Ignore(syscall.SIGHUP)
	bySignal := map[os.Signal]supervise.Event{
		syscall.SIGUSR1: supervise.Upgrade, syscall.SIGUSR2: supervise.Switch,
	}
	for {
		select {
		case <-ctx.Done():
		case received := <-signals:
			if event, ok := bySignal[received]; ok {
				events <- event
				continue
			}
		}
		daemon.SdNotify(false, daemon.SdNotifyStopping) // only informs; an error changes nothing
		if !c.keepMount {
			if err := c.unmount(); err != nil {
				c.log.Error("lxcfs not unmounted", "err", err)
			}
		}
		events <- supervise.End
		return
	}
}

// unmount unmounts lxcfs from all its mount points on the host. Files in containers stay mounted.
func (c *config) unmount() error {
	mount, err := lxcfsOn(c.mountpoint)
	if err != nil || mount == nil { // another process has unmounted it
		return err
	}
	return mounts.UnmountHost(mounts.Device(mount), sys.UnmountDetach)
}

// reopenName is the name of the socket by which a worker opens files for writing.
const reopenName = "reopen"

// isPressureFile reports whether a worker may open the file for writing: a pressure file, for a
// trigger. Only the kernel creates files on these file systems.
func isPressureFile(fsType int64, path string) bool {
	dir, name := filepath.Split(path)
	switch fsType {
	case sys.ProcMagic:
		return filepath.Base(dir) == "pressure" && slices.Contains(pressures, name)
	case sys.Cgroup2Magic:
		resource, ok := strings.CutSuffix(name, ".pressure")
		return ok && slices.Contains(pressures, resource)
	}
	return false
}

var pressures = []string{"cpu", "memory", "io", "irq"}
