package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"time"

	"palisade/internal/cli/metrics"
	"palisade/internal/linux/sys"
	"palisade/internal/lxcfs/meter"
)

// metricsProgram answers Prometheus. Its client library, linked into this program, would cost each
// process megabytes.
const (
	metricsProgram = "lxcfs-metrics"
	metricsDir     = "/usr/libexec/palisade"
)

// metricsProcess keeps the program that serves metrics running, and owns the counters.
type metricsProcess struct {
	options metrics.Options
	// lxcfs is the path of this program.
	lxcfs   string
	log     *slog.Logger
	meter   *meter.Meter
	memory  sys.File // with the counters, not open without metrics
	spawner *sys.Spawner
	renewed chan struct{}
	// end ends the process and removes the socket.
	end func()
}

// startMetrics starts the program that serves metrics, if the options ask for it. It logs errors,
// and lxcfs serves without metrics then.
func (c *config) startMetrics(ctx context.Context) *metricsProcess {
	t := &metricsProcess{
		options: c.metrics, lxcfs: c.program, log: c.log, meter: meter.NewPrivate(),
		renewed: make(chan struct{}, 1), end: func() {},
	}
	if !t.options.Enabled() {
		return t
	}
	shared, memory, err := meter.New()
	if err != nil {
		t.log.Error(metrics.NotServed, "err", err)
		return t
	}
	t.meter, t.memory = shared, memory
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	t.end = func() {
		cancel()
		<-ended
	}
	go func() {
		defer close(ended)
		metrics.Retry(ctx, t.log, t.renewed, t.serve)
	}()
	return t
}

// renew replaces the process by one of the program on disk.
func (t *metricsProcess) renew() {
	select {
	case t.renewed <- struct{}{}:
	default: // an earlier call is still pending
	}
}

// serve listens, and keeps the process running that answers, until ctx ends.
func (t *metricsProcess) serve(ctx context.Context) (err error) {
	path := programBeside(t.lxcfs, metricsProgram, metricsDir)
	if _, err := os.Stat(path); err != nil {
		return err
	}
	listeners, err := t.options.Listen(ctx, t.log)
	if err != nil {
		return err
	}
	var files []sys.NamedFile
	defer func() {
		for _, l := range listeners {
			err = errors.Join(err, l.Close())
		}
		for _, f := range files {
			f.File.Close()
		}
	}()
	memory, err := t.memory.ReopenReadOnly() // the process answers untrusted clients
	if err != nil {
		return err
	}
	files = append(files, sys.NamedFile{Name: meter.FileName, File: memory})
	var addresses []string
	for i, l := range listeners {
		f, err := sys.ListenerFile(l)
		if err != nil {
			return err
		}
		files = append(files, sys.NamedFile{Name: metrics.ListenerName + strconv.Itoa(i), File: f})
		addresses = append(addresses, l.Addr().String())
	}
	if t.spawner == nil {
		if t.spawner, err = sys.NewSpawner(); err != nil { // without a capability
			return fmt.Errorf("drop privileges: %w", err)
		}
	}
	t.log.Info("metrics are served", "at", addresses)
	return t.keepRunning(ctx, path, files)
}

const (
	// restartDelay is the pause before a program that ended is started again. The pause doubles up
	// to maxRestartDelay, and is reset after a program has run for longer than that.
	restartDelay    = 100 * time.Millisecond
	maxRestartDelay = time.Minute
)

// keepRunning keeps the program running until ctx ends. It fails if the program does not start.
func (t *metricsProcess) keepRunning(
	ctx context.Context, path string, files []sys.NamedFile,
) error {
	for delay := restartDelay; ctx.Err() == nil; {
		began := time.Now()
		p, err := t.spawner.Start(path, []string{metricsProgram}, nil, files)
		if err != nil {
			return err
		}
		ended := make(chan *os.ProcessState, 1)
		go func() {
			state, _ := p.Wait() // nil if the state is unknown
			ended <- state
		}()
		select {
		case state := <-ended:
			t.log.Warn(metricsProgram+" ended", "pid", p.Pid, "state", state)
			if time.Since(began) > maxRestartDelay {
				delay = restartDelay
			}
			select {
			case <-ctx.Done():
			case <-t.renewed:
			case <-time.After(delay):
			}
			delay = min(2*delay, maxRestartDelay)
		case <-t.renewed:
			p.Kill() // has no effect if it has ended
			<-ended
		case <-ctx.Done():
			p.Kill()
			<-ended
		}
	}
	return nil
}
