package toolkit

import (
	"context"
	"fmt"
	"syscall"
	"time"

	"palisade/internal/inject/probe"
)

// Upgrade makes lxcfs start a new worker from the program on disk, and waits until that serves. It
// returns the status of the new worker.
func (t *Toolkit) Upgrade(ctx context.Context, wait time.Duration) (*probe.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	before, err := t.served(ctx)
	if err != nil {
		return nil, err
	}
	if before.Worker == 0 {
		return nil, fmt.Errorf("upgrade the lxcfs on %s: it has no worker process", t.Mountpoint)
	}
	// The process is still the server: its file system has just reported the pid.
	if err := syscall.Kill(before.PID, syscall.SIGUSR1); err != nil {
		return nil, fmt.Errorf("signal process %d: %w", before.PID, err)
	}
	for {
		now, err := t.served(ctx)
		if err == nil && now.Worker != before.Worker {
			return now, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("worker %d still serves after %v: see the log of lxcfs",
				before.Worker, wait)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (t *Toolkit) served(ctx context.Context) (*probe.Status, error) {
	found, err := t.Look(ctx)
	if err != nil {
		return nil, err
	}
	if found.State != probe.Healthy {
		return nil, unhealthy(&found)
	}
	if found.Server == nil {
		return nil, fmt.Errorf("the lxcfs on %s reports no status: it is another implementation",
			t.Mountpoint)
	}
	return found.Server, nil
}
