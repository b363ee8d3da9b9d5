// Package toolkit mounts the files of lxcfs in containers and unmounts them: in running ones, and
// by a hook in one that is being started. It also prepares the host for lxcfs.
package toolkit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"palisade/internal/inject/engine"
	"palisade/internal/inject/mounts"
	"palisade/internal/inject/probe"
	"palisade/internal/linux/lockfile"
	"palisade/internal/linux/sys"
)

// Toolkit holds the options that all commands share.
type Toolkit struct {
	// Mountpoint is the main mount point of lxcfs.
	Mountpoint string
	// RuntimeDir contains the registry of containers that the hook has seen, and a lock.
	RuntimeDir string
	Log        *slog.Logger

	prober probe.Prober
}

// DefaultRuntimeDir is the directory of the registry and the lock.
const DefaultRuntimeDir = "/run/lxcfs-toolkit"

// ProbeTime bounds the time that an lxcfs takes to answer.
const ProbeTime = 2 * time.Second

func (t *Toolkit) registry() engine.Registry {
	return engine.Registry{Dir: t.RuntimeDir + "/containers", Proc: "/proc"}
}

// Look probes the main lxcfs.
func (t *Toolkit) Look(ctx context.Context) (probe.Result, error) {
	return t.prober.Look(ctx, t.Mountpoint, ProbeTime)
}

// openSource waits up to wait until lxcfs is healthy, and opens its files.
func (t *Toolkit) openSource(ctx context.Context, wait time.Duration) (*mounts.Source, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	for {
		found, err := t.Look(ctx)
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

// open opens the files of the lxcfs that was found. It fails with ErrUnhealthy if that does not
// answer.
func (t *Toolkit) open(ctx context.Context, found *probe.Result) (*mounts.Source, error) {
	if found.State != probe.Healthy {
		return nil, unhealthy(found)
	}
	ctx, cancel := context.WithTimeout(ctx, ProbeTime)
	defer cancel()
	src, err := mounts.OpenSource(ctx, found.Mountpoint, found.Device, found.Files)
	if ctx.Err() != nil && err != nil {
		err = fmt.Errorf("%w: %s does not answer: %w", ErrUnhealthy, found.Mountpoint, err)
	}
	if err == nil && errors.Is(src.Shared, mounts.ErrNotHost) {
		t.Log.Warn("containers share the inodes of their files: "+
			"run lxcfs and the container engine with the same root directory, pid and user namespace",
			"mountpoint", found.Mountpoint, "err", src.Shared)
	}
	return src, err
}

// ErrUnhealthy is the error for an lxcfs that cannot serve containers.
var ErrUnhealthy = errors.New("lxcfs is not healthy")

func unhealthy(found *probe.Result) error {
	return fmt.Errorf("%w: %s is %s: %s", ErrUnhealthy, found.Mountpoint, found.State, found.Reason)
}

// host returns the lxcfs that are mounted on this host, without dead ones.
func (t *Toolkit) host(ctx context.Context) (mounts.Host, error) {
	table, err := mounts.OwnTable()
	if err != nil {
		return mounts.Host{}, err
	}
	host := table.Host(t.Mountpoint)
	isOther := func(device sys.DeviceNumber) bool { return host.Others[device] }
	for device, state := range probeEach(ctx, table, deadTime, isOther) {
		if state == probe.Dead {
			delete(host.Others, device)
		}
	}
	return host, nil
}

// probeEach probes once each lxcfs of the mount table whose device is wanted, and returns the
// states by device.
func probeEach(
	ctx context.Context, table *mounts.Table, timeout time.Duration,
	isWanted func(sys.DeviceNumber) bool,
) map[sys.DeviceNumber]probe.State {
	states := make(map[sys.DeviceNumber]probe.State)
	for _, point := range table.Mountpoints() {
		top := table.Top(point)
		if top == nil || !isWanted(mounts.Device(top)) || states[mounts.Device(top)] != "" {
			continue
		}
		if found, err := probe.Look(ctx, point, timeout); err == nil {
			states[mounts.Device(top)] = found.State
		}
	}
	return states
}

// lock prevents other processes from changing containers as long as the returned file is open.
func (t *Toolkit) lock(ctx context.Context, wait time.Duration) (*os.File, error) {
	f, err := lockfile.Acquire(ctx, filepath.Join(t.RuntimeDir, "lock"), wait)
	if err != nil {
		return nil, fmt.Errorf("wait for another lxcfs-toolkit: %w", err)
	}
	return f, nil
}
