// Package toolkit puts the files of lxcfs into containers and takes them out: into all that run, into one that is being
// started (the hook), and it prepares the host for that.
package toolkit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"palisade/internal/engine"
	"palisade/internal/mounts"
	"palisade/internal/probe"
)

// Toolkit is what all commands know.
type Toolkit struct {
	// Mountpoint is where lxcfs is mounted.
	Mountpoint string
	// RuntimeDir keeps the registry of containers that the hook has seen, and a lock.
	RuntimeDir string
	Log        *slog.Logger
}

// DefaultRuntimeDir is the folder of the registry and the lock.
const DefaultRuntimeDir = "/run/lxcfs-toolkit"

// ProbeTime is how long an lxcfs may take to answer.
const ProbeTime = 2 * time.Second

func (t *Toolkit) registry() engine.Registry {
	return engine.Registry{Dir: t.RuntimeDir + "/containers", Proc: "/proc"}
}

// openSource waits until the lxcfs is healthy, at most for the given time, and gets a hold of its files.
func (t *Toolkit) openSource(ctx context.Context, wait time.Duration) (*mounts.Source, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	for {
		found, err := probe.Look(ctx, t.Mountpoint, ProbeTime)
		if err != nil {
			return nil, err
		}
		src, err := t.open(ctx, &found)
		if !errors.Is(err, ErrUnhealthy) {
			return src, err
		}
		select {
		case <-ctx.Done():
			if cause := context.Cause(ctx); !errors.Is(cause, context.DeadlineExceeded) {
				err = cause
			}
			return nil, err
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// open gets a hold of the files of the lxcfs that was found; it fails with ErrUnhealthy where that does not answer.
func (t *Toolkit) open(ctx context.Context, found *probe.Result) (*mounts.Source, error) {
	if found.State != probe.Healthy {
		return nil, unhealthy(found)
	}
	ctx, cancel := context.WithTimeout(ctx, ProbeTime)
	defer cancel()
	src, err := mounts.OpenSource(ctx, found.Mountpoint, found.Device, found.Files)
	if ctx.Err() != nil && err != nil {
		err = fmt.Errorf("%w: %s answers no more: %w", ErrUnhealthy, found.Mountpoint, err)
	}
	if err == nil && errors.Is(src.Shared, mounts.ErrNotHost) {
		t.Log.Warn("containers share the inodes of their files: "+
			"run lxcfs and the container engine with the same root directory, pid and user namespace",
			"mountpoint", found.Mountpoint, "err", src.Shared)
	}
	return src, err
}

// ErrUnhealthy is the error where lxcfs cannot serve containers.
var ErrUnhealthy = errors.New("lxcfs is not healthy")

func unhealthy(found *probe.Result) error {
	return fmt.Errorf("%w: %s is %s: %s", ErrUnhealthy, found.Mountpoint, found.State, found.Reason)
}

// host says which lxcfs are mounted on this host. One that is dead is none.
func (t *Toolkit) host(ctx context.Context) (mounts.Host, error) {
	table, err := mounts.OwnTable()
	if err != nil {
		return mounts.Host{}, err
	}
	host := table.Host(t.Mountpoint)
	for _, point := range table.Mountpoints() {
		if top := table.Top(point); top == nil || !host.Others[mounts.Device(top)] {
			continue
		}
		if found, err := probe.Look(ctx, point, deadTime); err == nil && found.State == probe.Dead {
			delete(host.Others, found.Device)
		}
	}
	return host, nil
}
