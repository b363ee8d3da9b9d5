package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"

	"palisade/internal/cli/metrics"
	"palisade/internal/linux/sys"
	"palisade/internal/lxcfs/meter"
	"palisade/internal/lxcfs/supervise"
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
	log     *slog.Logger
	meter   *meter.Meter
	memory  sys.File
	spawner *sys.Spawner
	renewed chan struct{}
	cancel  context.CancelFunc
	ended   chan struct{}
}

// startMetrics starts the program that serves metrics, if the options ask for it. It logs errors,
// and lxcfs serves without metrics then.
func (c *config) startMetrics(ctx context.Context) *metricsProcess {
	t := &metricsProcess{
		options: c.metrics, log: c.log,
		renewed: make(chan struct{}, 1), cancel: func() {}, ended: make(chan struct{}),
	}
	if !t.options.Enabled() {
		close(t.ended)
		return t
	}
	var err error
	if t.meter, t.memory, err = meter.New(); err != nil {
		t.log.Error(metrics.NotServed, "err", err)
		close(t.ended)
		return t
	}
	ctx, t.cancel = context.WithCancel(ctx)
	go func() {
		defer close(t.ended)
		metrics.Retry(ctx, t.log, t.renewed, t.serve)
	}()
	return t
}

// files returns the memory with the counters, for workers.
func (t *metricsProcess) files() []sys.NamedFile {
	if t.meter == nil {
		return nil
	}
	return []sys.NamedFile{{Name: meter.FileName, File: t.memory}}
}

// renew replaces the process by one of the program on disk.
func (t *metricsProcess) renew() {
	select {
	case t.renewed <- struct{}{}:
	default: // an earlier call is still pending
	}
}

// end ends the process and removes the socket.
func (t *metricsProcess) end() {
	t.cancel()
	<-t.ended
}

// serve listens, and keeps the process running that answers, until ctx ends.
func (t *metricsProcess) serve(ctx context.Context) (err error) {
	path := programBeside(metricsProgram, metricsDir)
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
	for i, l := range listeners {
		f, err := sys.ListenerFile(l)
		if err != nil {
			return err
		}
		files = append(files, sys.NamedFile{Name: metrics.ListenerName + strconv.Itoa(i), File: f})
	}
	if t.spawner == nil {
		if t.spawner, err = sys.NewSpawner(); err != nil { // without a capability
			return fmt.Errorf("drop privileges: %w", err)
		}
	}
	program := supervise.Companion{
		Program: path, Name: metricsProgram, Spawner: t.spawner, Files: files,
		Renewed: t.renewed, Log: t.log,
	}
	t.log.Info("metrics are served", "at", addresses(listeners))
	return program.Run(ctx)
}

func addresses(listeners []net.Listener) (all []string) {
	for _, l := range listeners {
		all = append(all, l.Addr().String())
	}
	return all
}
