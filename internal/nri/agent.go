// Package nri gives the containers of Kubernetes the files of lxcfs: it is a plug-in of NRI, the
// interface of containerd and CRI-O for their nodes.
package nri

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"palisade/internal/inject/agentstatus"
	"palisade/internal/inject/engine"
	"palisade/internal/inject/mounts"
	"palisade/internal/inject/probe"
	"palisade/internal/inject/toolkit"
)

// Injector mounts the files of lxcfs in containers, as a Toolkit does.
type Injector interface {
	Look(context.Context) (probe.Result, error)
	Start(context.Context, engine.Container) (mounts.Change, error)
	Remount(context.Context, toolkit.Selection) (toolkit.Report, error)
	Umount(context.Context, toolkit.Selection) (toolkit.Report, error)
	Forget(pid int)
}

var _ Injector = (*toolkit.Toolkit)(nil)

// Options configure an Agent.
type Options struct {
	// Sockets are the sockets of NRI of the container runtimes.
	Sockets []string
	// Index and Name are those of the plug-in. Runtimes call plug-ins in the order of their index,
	// two digits.
	Index, Name string
	Rules       Rules
}

// Agent serves the runtimes of a node.
type Agent struct {
	Options
	injector Injector
	log      *slog.Logger
	metrics  agentMetrics

	mu sync.Mutex
	// containers are the running ones that get the files, by their ids.
	containers map[string]container
	// connected has the sockets of runtimes that have called Synchronize.
	connected map[string]bool
	// lxcfs is the state of lxcfs, "" before the first probe.
	lxcfs probe.State
	// stale receives a value when containers may lack files.
	stale chan struct{}
}

// container is a running container.
type container struct {
	engine.Container
	// socket is the socket of its runtime.
	socket string
	log    *slog.Logger
}

// New returns an Agent, and registers its metrics.
func New(
	o Options, injector Injector, log *slog.Logger, registry prometheus.Registerer,
) *Agent {
	a := &Agent{
		Options: o, injector: injector, log: log, stale: make(chan struct{}, 1),
		containers: make(map[string]container), connected: make(map[string]bool),
	}
	a.metrics = newMetrics(a, registry)
	return a
}

// Run serves the runtimes until ctx ends. Containers keep their files then.
func (a *Agent) Run(ctx context.Context) {
	var running sync.WaitGroup
	for _, socket := range a.Sockets {
		running.Go(func() { a.serve(ctx, socket) })
	}
	running.Go(func() { a.watch(ctx) })
	running.Wait()
}

// Ready returns an error unless a runtime is connected and lxcfs answers.
func (a *Agent) Ready() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	var errs []error
	if len(a.connected) == 0 {
		errs = append(errs, errors.New("no container runtime is connected"))
	}
	if a.lxcfs != probe.Healthy {
		errs = append(errs, fmt.Errorf("lxcfs is %s", cmp.Or(string(a.lxcfs), "not probed yet")))
	}
	return errors.Join(errs...)
}

// Status returns the state of the agent, without what New does not know.
func (a *Agent) Status() agentstatus.Status {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := agentstatus.Status{Lxcfs: a.lxcfs, Runtimes: make(map[string]bool)}
	for _, socket := range a.Sockets {
		s.Runtimes[socket] = a.connected[socket]
	}
	s.Served = slices.Sorted(maps.Keys(a.containers))
	return s
}

// setConnected records whether the runtime at the socket is connected, and the containers that it
// runs if it is.
func (a *Agent) setConnected(socket string, is bool, running []container) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !is {
		delete(a.connected, socket)
		return // its containers still run
	}
	a.connected[socket] = true
	maps.DeleteFunc(a.containers, func(_ string, c container) bool { return c.socket == socket })
	for _, c := range running {
		a.containers[c.ID] = c
	}
}

func (a *Agent) add(c container) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.containers[c.ID] = c
}

// remove removes a container that gets no files, or has ended.
func (a *Agent) remove(id string) {
	a.mu.Lock()
	c, ok := a.containers[id]
	delete(a.containers, id)
	a.mu.Unlock()
	if ok {
		a.injector.Forget(c.PID)
	}
}

// list returns the containers.
func (a *Agent) list() []container {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Collect(maps.Values(a.containers))
}

// Remount makes the agent mount the files that containers lack, such as those that only a new
// version of lxcfs serves.
func (a *Agent) Remount() { a.markStale() }

// markStale makes watch mount the files that containers lack.
func (a *Agent) markStale() {
	select {
	case a.stale <- struct{}{}:
	default: // it will do so
	}
}
