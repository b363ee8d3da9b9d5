package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"

	"palisade/internal/inject/probe"
	"palisade/internal/inject/toolkit"
	"palisade/internal/nri"
	"palisade/internal/nri/install"
)

// keeper keeps lxcfs installed on the host, and running.
type keeper struct {
	*install.Installer
	agent *nri.Agent

	mu  sync.Mutex
	err error
}

// errPending is the failure before the first installation has ended.
var errPending = errors.New("lxcfs is not installed yet")

// installInterval is the time after which a failed installation is tried again.
const installInterval = 30 * time.Second

// run installs lxcfs, and tries again until it succeeds or ctx ends. If nothing on the host can run
// lxcfs, it does so itself until ctx ends.
func (k *keeper) run(ctx context.Context) {
	for {
		installed, err := k.Install(ctx)
		if ctx.Err() != nil {
			return
		}
		k.setFailure(err)
		switch {
		case err != nil:
			k.Log.Error("lxcfs is not installed, and is tried again", "dir", k.Dir, "err", err)
		case installed.Program != "":
			k.Log.Warn("the host does not run systemd: lxcfs ends with this pod, and containers read "+
				"the host's files until the next one", "program", installed.Program)
			k.keepRunning(ctx, installed.Program)
			return
		default:
			if installed.Unit != "" {
				k.Log.Info("lxcfs is run by systemd", "unit", installed.Unit)
			}
			if installed.Upgraded {
				k.agent.Remount()
			}
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(installInterval):
		}
	}
}

func (k *keeper) setFailure(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.err = err
}

// failure returns the error of the last installation.
func (k *keeper) failure() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.err
}

const (
	// restartDelay is the pause before an lxcfs that has ended is started again.
	restartDelay = time.Second
	// endTime bounds the time to unmount lxcfs everywhere, less than the 30 seconds that the kubelet
	// gives a pod.
	endTime = 20 * time.Second
)

// keepRunning runs lxcfs as a child until ctx ends, and then unmounts it everywhere. While another
// lxcfs serves, such as that of an agent that is about to end, it waits.
func (k *keeper) keepRunning(ctx context.Context, program string) {
	// The child gets a signal when the thread that started it ends.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for ctx.Err() == nil {
		if found, err := k.Toolkit.Look(ctx); err != nil || found.State != probe.Healthy {
			if err := k.serve(ctx, program); err != nil && ctx.Err() == nil {
				k.Log.Error("lxcfs has ended, and is started again", "err", err)
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(restartDelay):
		}
	}
}

// serve runs lxcfs once.
func (k *keeper) serve(ctx context.Context, program string) error {
	if err := k.Toolkit.Prestart(ctx); err != nil {
		return err
	}
	cmd := exec.Command(program, "--pidfile", "/run/palisade-lxcfs.pid", k.Toolkit.Mountpoint)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	// Containers read the host's files before lxcfs ends, not errors.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTime)
	defer cancel()
	report, err := k.Toolkit.Poststop(ctx, toolkit.Selection{Jobs: 8, Timeout: endTime})
	if err == nil {
		err = report.Err()
	}
	if err != nil {
		k.Log.Error("lxcfs is not unmounted everywhere", "err", err)
	}
	cmd.Process.Signal(syscall.SIGTERM) // fails if it has ended
	select {
	case <-ended:
	case <-ctx.Done():
		cmd.Process.Kill()
		<-ended
	}
	return nil
}
