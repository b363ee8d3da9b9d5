package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"palisade/internal/fusedev"
	"palisade/internal/lxcfs"
	"palisade/internal/probe"
	"palisade/internal/sys"
	"palisade/internal/version"
)

const (
	// moreThreads is how many more threads than CPUs serve requests: a few may wait for a slow file of the kernel.
	moreThreads = 4
	// drainTime is how long requests under way may take to be answered when the daemon ends.
	drainTime = time.Second
)

// run serves the mount point until a signal or an unmount ends it.
func run(ctx context.Context, c *config) error {
	if os.Geteuid() != 0 {
		return errors.New("only root can mount and look into containers")
	}
	if err := checkMountpoint(c.mountpoint); err != nil {
		return err
	}
	runtimeDir := probe.RuntimeDir(c.runtimeDir, c.mountpoint)
	if err := os.MkdirAll(runtimeDir, 0o755); err != nil {
		return fmt.Errorf("make runtime folder: %w", err)
	}
	lock, err := lockFile(filepath.Join(runtimeDir, probe.LockFile))
	if err != nil {
		return fmt.Errorf("serve %s: %w", c.mountpoint, err)
	}
	defer lock.Close()
	pidFile, err := lockFile(c.pidFile)
	if err != nil {
		return fmt.Errorf("use pid file: %w (--pidfile names another)", err)
	}
	defer os.Remove(c.pidFile)
	defer pidFile.Close()
	if err := clearMountpoint(ctx, c.mountpoint, c.log); err != nil {
		return err
	}
	filesystem, err := lxcfs.New(lxcfs.Options{
		Swap: !c.disableSwap, Quota: !c.disableCFS, Loadavg: !c.disableLoadavg,
		ProcRoot: "/proc", SysRoot: "/sys", StateFile: filepath.Join(runtimeDir, "state.json"), Log: c.log,
	})
	if err != nil {
		return err
	}
	extra, err := c.mountOptions()
	if err != nil {
		return err
	}
	dev, err := fusedev.Mount(c.mountpoint, fusedev.MountOptions{Source: "lxcfs", Subtype: "lxcfs", Extra: extra})
	if err != nil {
		return err
	}
	threads := runtime.NumCPU() + moreThreads
	runtime.GOMAXPROCS(threads) // a thread that comes back from the kernel does not wait for its turn
	conn, err := filesystem.Serve(dev, threads)
	if err != nil {
		return errors.Join(err, sys.Unmount(c.mountpoint, sys.UnmountDetach))
	}
	c.log.Info("serving", "mountpoint", c.mountpoint, "version", version.String())
	if _, err := daemon.SdNotify(false, daemon.SdNotifyReady); err != nil {
		c.log.Warn("the service manager is not told of the start", "err", err)
	}
	return c.serve(ctx, filesystem, conn)
}

// serve waits for the end and brings it about in good order.
func (c *config) serve(ctx context.Context, filesystem *lxcfs.FS, conn *fusedev.Conn) error {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGUSR2)
	signal.Ignore(syscall.SIGHUP, syscall.SIGUSR1)
	ended := make(chan struct{})
	go func() {
		conn.Wait()
		close(ended)
	}()
	for {
		select {
		case <-ended:
			c.log.Info("unmounted by somebody else", "mountpoint", c.mountpoint)
			return filesystem.SaveState()
		case <-ctx.Done():
			return c.end(filesystem, conn)
		case s := <-signals:
			if s == syscall.SIGUSR2 {
				c.log.Info("virtualisation switched", "on", filesystem.ToggleVirtualisation())
				continue
			}
			return c.end(filesystem, conn)
		}
	}
}

// end unmounts, and lets the requests under way be answered: those of containers that have files of the mount for theirs.
func (c *config) end(filesystem *lxcfs.FS, conn *fusedev.Conn) error {
	daemon.SdNotify(false, daemon.SdNotifyStopping) // nobody is there to be told if it fails
	err := sys.Unmount(c.mountpoint, sys.UnmountDetach)
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, fs.ErrNotExist) {
		err = nil // somebody else was faster
	}
	for deadline := time.Now().Add(drainTime); conn.Busy() > 0 && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	c.log.Info("stopped", "mountpoint", c.mountpoint)
	return errors.Join(err, filesystem.SaveState())
}
