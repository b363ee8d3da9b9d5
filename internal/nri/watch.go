package nri

import (
	"context"
	"time"

	"palisade/internal/inject/engine"
	"palisade/internal/inject/probe"
	"palisade/internal/inject/toolkit"
	"palisade/internal/linux/sys"
)

const (
	// probeInterval is the time between probes of lxcfs, which take a third of a percent of a CPU:
	// each executes this program.
	probeInterval = 2 * time.Second
	// remountTime bounds the wait for a healthy lxcfs, and for an lxcfs-toolkit to end.
	remountTime = 10 * time.Second
	// failedInterval is the time after which a container in which files could not be mounted is tried
	// again.
	failedInterval = time.Minute
	// atATime is the number of containers in which files are mounted at a time.
	atATime = 8
)

// server identifies a running lxcfs.
type server struct {
	device sys.DeviceNumber
	pid    int
}

// watcher keeps the files in containers those of the lxcfs that runs.
type watcher struct {
	*Agent
	// mounted is the lxcfs whose files are in the containers, zero if there is none.
	mounted server
	// isStale is set if containers may lack files.
	isStale bool
}

// watch probes lxcfs until ctx ends. It mounts the files of a new lxcfs in the containers, and
// unmounts those of one that has ended: containers then read the host's files.
func (a *Agent) watch(ctx context.Context) {
	w := watcher{Agent: a}
	for tick := time.Tick(probeInterval); ; {
		w.check(ctx)
		select {
		case <-ctx.Done():
			return
		case <-a.stale:
			w.isStale = true
		case <-tick:
		}
	}
}

// check probes lxcfs once.
func (w *watcher) check(ctx context.Context) {
	found, err := w.injector.Look(ctx)
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		w.log.Warn("cannot probe lxcfs", "err", err)
		return
	}
	w.setState(&found)
	var want server
	command, do := umount, w.injector.Umount
	switch {
	case found.State == probe.Healthy:
		want = server{found.Device, found.PID}
		command, do = remount, w.injector.Remount
	case found.State == probe.Wedged: // readers wait for it, or for the next server
		return
	case found.State == probe.NotMounted && w.mounted == server{}:
		return // there may be files of an lxcfs that this process does not see
	}
	if (w.isStale || w.mounted != want) && w.apply(ctx, command, do) == nil {
		w.mounted, w.isStale = want, false
	}
}

// Commands in metrics and log messages.
const (
	remount = "remount"
	umount  = "umount"
)

func (w *watcher) setState(found *probe.Result) {
	w.mu.Lock()
	before := w.lxcfs
	w.lxcfs = found.State
	w.mu.Unlock()
	switch {
	case before == found.State:
	case found.State == probe.Healthy:
		w.log.Info("lxcfs is healthy", "mountpoint", found.Mountpoint, "pid", found.PID)
	default:
		w.log.Warn("lxcfs is "+string(found.State), "mountpoint", found.Mountpoint,
			"reason", found.Reason)
	}
}

// apply calls do, which mounts or unmounts the files, for the containers.
func (w *watcher) apply(
	ctx context.Context, command string,
	do func(context.Context, toolkit.Selection) (toolkit.Report, error),
) error {
	byID := make(map[string]container)
	selection := toolkit.Selection{
		Containers: []engine.Container{}, Jobs: atATime, Timeout: remountTime,
	}
	for _, c := range w.list() {
		byID[c.ID] = c
		selection.Containers = append(selection.Containers, c.Container)
	}
	if len(byID) == 0 {
		return nil
	}
	report, err := do(ctx, selection)
	if err != nil {
		w.log.Warn(command+" failed, and is tried again", "err", err)
		return err
	}
	if report.Err() != nil {
		time.AfterFunc(failedInterval, w.markStale)
	}
	for _, r := range report.Results {
		w.metrics.remounts.WithLabelValues(command, string(r.Outcome)).Inc()
		switch log := byID[r.ID].log; r.Outcome {
		case toolkit.Failed:
			log.Warn(command+" failed", "err", r.Error)
		case toolkit.Done:
			log.Info(command, "pid", r.PID, "files", r.Virtual, "mounted", r.Put, "unmounted", r.Removed)
		}
	}
	return nil
}
