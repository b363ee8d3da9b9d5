package nri

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/containerd/nri/pkg/api"
	"github.com/containerd/nri/pkg/stub"

	"palisade/internal/inject/engine"
	"palisade/internal/inject/mounts"
	"palisade/internal/inject/toolkit"
)

// session answers the calls of a runtime during one connection.
type session struct {
	*Agent
	socket string
	// log names the socket.
	log *slog.Logger
}

var (
	_ stub.ConfigureInterface       = (*session)(nil)
	_ stub.SynchronizeInterface     = (*session)(nil)
	_ stub.StartContainerInterface  = (*session)(nil)
	_ stub.StopContainerInterface   = (*session)(nil)
	_ stub.RemoveContainerInterface = (*session)(nil)
)

// Configure is the first call. It subscribes to all events that have a method.
func (s *session) Configure(_ context.Context, _, runtime, version string) (api.EventMask, error) {
	s.log.Info("connected to the container runtime", "runtime", runtime, "version", version)
	return 0, nil
}

// Synchronize is the second call, with all containers. The runtime starts none until it returns,
// so it leaves the work to watch.
func (s *session) Synchronize(
	_ context.Context, pods []*api.PodSandbox, containers []*api.Container,
) ([]*api.ContainerUpdate, error) {
	podOf := make(map[string]*api.PodSandbox)
	for _, pod := range pods {
		podOf[pod.GetId()] = pod
	}
	var running []container
	for _, c := range containers {
		isRunning := c.GetState() == api.ContainerState_CONTAINER_RUNNING ||
			c.GetState() == api.ContainerState_CONTAINER_PAUSED
		if !isRunning {
			continue
		}
		found, _, ok := s.selected(podOf[c.GetPodSandboxId()], c)
		switch {
		case ok && found.PID <= 0:
			found.log.Warn("the container gets no files", "err", toolkit.ErrNoProcess)
		case ok:
			running = append(running, found)
		}
	}
	s.setConnected(s.socket, true, running)
	s.markStale()
	return nil, nil
}

// startTime bounds the time for a container that starts if the runtime sets no deadline.
const startTime = 2 * time.Second

// StartContainer mounts the files in a container that is created. The runtime starts its process
// when it returns, and with an error never.
func (s *session) StartContainer(
	ctx context.Context, pod *api.PodSandbox, given *api.Container,
) error {
	c, plan, ok := s.selected(pod, given)
	if !ok {
		return nil
	}
	s.add(c)
	began := time.Now()
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = began.Add(startTime)
	}
	// The answer must arrive in time: the runtime disconnects a plug-in that is late.
	ctx, cancel := context.WithTimeout(ctx, deadline.Sub(began)*3/4)
	defer cancel()
	change, err := s.injector.Start(ctx, c.Container)
	s.metrics.starts.Observe(time.Since(began).Seconds())
	switch {
	case errors.Is(err, mounts.ErrHostNamespace):
		s.remove(c.ID)
		s.skip(c.log, noMountNamespace)
		return nil
	case err == nil:
		s.metrics.served.Inc()
		c.log.Info("mounted the files of lxcfs", "pid", c.PID, "files", len(change.Virtual),
			"took", time.Since(began))
		return nil
	}
	s.metrics.failed.Inc()
	if plan.strict {
		c.log.Error("the container does not start without lxcfs", "err", err)
		return fmt.Errorf("%s: container %s must not start without lxcfs: %w", s.Name, c.ID, err)
	}
	c.log.Warn("the container starts without lxcfs", "err", err)
	s.markStale()
	return nil
}

// StopContainer is called when a container has ended.
func (s *session) StopContainer(
	_ context.Context, _ *api.PodSandbox, c *api.Container,
) ([]*api.ContainerUpdate, error) {
	s.remove(c.GetId())
	return nil, nil
}

// RemoveContainer is called when the runtime forgets a container.
func (s *session) RemoveContainer(
	_ context.Context, _ *api.PodSandbox, c *api.Container,
) error {
	s.remove(c.GetId())
	return nil
}

// selected returns the container with the plan of its pod, and false if it gets no files.
func (s *session) selected(
	pod *api.PodSandbox, given *api.Container,
) (c container, p plan, ok bool) {
	name := pod.GetNamespace() + "/" + pod.GetName() + "/" + given.GetName()
	c = container{socket: s.socket, Container: engine.Container{
		ID: given.GetId(), Names: []string{name}, PID: int(given.GetPid()),
	}}
	c.log = s.log.With("namespace", pod.GetNamespace(), "pod", pod.GetName(),
		"container", given.GetName(), "id", engine.ShortID(c.ID))
	p, err := s.Rules.plan(pod)
	if err != nil {
		c.log.Warn("ignored what is invalid", "err", err)
	}
	if !p.proc {
		s.skip(c.log, p.reason)
	}
	return c, p, p.proc
}

// noMountNamespace is the reason to skip a container that runs a kernel of its own.
const noMountNamespace = "no_mount_namespace"

var skipReasons = []string{byAnnotation, byLabel, byNamespace, byDefault, noMountNamespace}

func (s *session) skip(log *slog.Logger, reason string) {
	s.metrics.skipped.WithLabelValues(reason).Inc()
	log.Debug("skipped the container", "reason", reason)
}
