package toolkit

import (
	"context"
	"fmt"
	"time"

	"palisade/internal/probe"
	"palisade/internal/sys"
)

// Upgrade has the lxcfs start a new worker of the program on disk, and waits until that serves. It returns what that tells
// of itself.
func (t *Toolkit) Upgrade(ctx context.Context, wait time.Duration) (*probe.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	before, err := t.served(ctx)
	if err != nil {
		return nil, err
	}
	if before.Worker == 0 {
		return nil, fmt.Errorf("the lxcfs on %s cannot be upgraded: it has no worker", t.Mountpoint)
	}
	server, err := sys.OpenPidfd(before.PID)
	if err != nil {
		return nil, err
	}
	defer server.Close()
	// The process is the server still: what it serves has just told so.
	if err := server.SendSignal(sys.SignalUpgrade); err != nil {
		return nil, fmt.Errorf("signal process %d: %w", before.PID, err)
	}
	for {
		now, err := t.served(ctx)
		if err == nil && now.Worker != before.Worker {
			return now, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("process %d still serves after %v: lxcfs's log tells why", before.Worker, wait)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// served is what the lxcfs tells of itself.
func (t *Toolkit) served(ctx context.Context) (*probe.Status, error) {
	found, err := probe.Look(ctx, t.Mountpoint, ProbeTime)
	if err != nil {
		return nil, err
	}
	if found.State != probe.Healthy {
		return nil, unhealthy(&found)
	}
	if found.Server == nil {
		return nil, fmt.Errorf("the lxcfs on %s is not of this kind: it tells nothing of itself", t.Mountpoint)
	}
	return found.Server, nil
}
