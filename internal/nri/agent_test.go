package nri

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containerd/nri/pkg/adaptation"
	"github.com/containerd/nri/pkg/api"
	"github.com/prometheus/client_golang/prometheus"

	"palisade/internal/cli/golden"
	"palisade/internal/cli/scrape"
	"palisade/internal/inject/engine"
	"palisade/internal/inject/mounts"
	"palisade/internal/inject/probe"
	"palisade/internal/inject/toolkit"
	"palisade/internal/linux/sys"
)

// injector records its calls.
type injector struct {
	mu    sync.Mutex
	found probe.Result
	// startErr is the result of Start, applyErr that of Remount and Umount.
	startErr, applyErr error
	// deadline is the time that the last call of Start had.
	deadline time.Duration
	// outcome is that of each container.
	outcome toolkit.Outcome
	calls   []string
}

func (i *injector) call(format string, args ...any) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.calls = append(i.calls, fmt.Sprintf(format, args...))
}

// take returns the calls since the last one of take.
func (i *injector) take() []string {
	i.mu.Lock()
	defer i.mu.Unlock()
	calls := i.calls
	i.calls = nil
	return calls
}

func (i *injector) Look(context.Context) (probe.Result, error) { return i.found, nil }

func (i *injector) Start(ctx context.Context, c engine.Container) (mounts.Change, error) {
	deadline, _ := ctx.Deadline()
	i.deadline = time.Until(deadline)
	i.call("start %s %d %s", c.ID, c.PID, c.Names[0])
	return mounts.Change{}, i.startErr
}

func (i *injector) Remount(_ context.Context, s toolkit.Selection) (toolkit.Report, error) {
	return i.apply("remount", s)
}

func (i *injector) Umount(_ context.Context, s toolkit.Selection) (toolkit.Report, error) {
	return i.apply("umount", s)
}

func (i *injector) apply(command string, s toolkit.Selection) (toolkit.Report, error) {
	var report toolkit.Report
	var ids []string
	for _, c := range s.Containers {
		ids = append(ids, c.ID)
		report.Results = append(report.Results, toolkit.Result{ID: c.ID, Outcome: i.outcome})
	}
	slices.Sort(ids)
	i.call("%s %s", command, strings.Join(ids, " "))
	return report, i.applyErr
}

func (i *injector) Forget(pid int) { i.call("forget %d", pid) }

// newAgent returns an agent for the socket.
func newAgent(socket string, i *injector) (*Agent, *prometheus.Registry) {
	registry := prometheus.NewPedanticRegistry()
	o := Options{
		Sockets: []string{socket}, Index: "50", Name: "palisade-nri",
		Rules: Rules{Default: true, Namespaces: map[string]bool{"kube-system": false}},
	}
	return New(o, i, slog.New(slog.DiscardHandler), registry), registry
}

// runtime is the part of a container runtime that speaks NRI.
type runtime struct {
	*adaptation.Adaptation
	socket     string
	pods       []*api.PodSandbox
	containers []*api.Container
}

func startRuntime(t *testing.T, socket string, r *runtime) *runtime {
	t.Helper()
	r.socket = socket
	synchronize := func(ctx context.Context, call adaptation.SyncCB) error {
		_, err := call(ctx, r.pods, r.containers)
		return err
	}
	update := func(
		context.Context, []*adaptation.ContainerUpdate,
	) ([]*adaptation.ContainerUpdate, error) {
		return nil, nil
	}
	var err error
	r.Adaptation, err = adaptation.New("test", "1.0.0", synchronize, update,
		adaptation.WithSocketPath(socket), adaptation.WithPluginPath(t.TempDir()),
		adaptation.WithPluginConfigPath(t.TempDir()))
	if err == nil {
		err = r.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Stop)
	return r
}

// waitFor polls a condition.
func waitFor(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("timed out waiting for %s", what)
		}
	}
}

func newPod(id, namespace string) *api.PodSandbox {
	return &api.PodSandbox{Id: id, Name: "pod-" + id, Namespace: namespace}
}

func newContainer(id, pod string, pid uint32, state api.ContainerState) *api.Container {
	return &api.Container{Id: id, PodSandboxId: pod, Name: "box", Pid: pid, State: state}
}

// TestSession runs an agent with a runtime.
func TestSession(t *testing.T) {
	const running, created = api.ContainerState_CONTAINER_RUNNING, api.ContainerState_CONTAINER_CREATED
	socket := filepath.Join(t.TempDir(), "nri.sock")
	i := &injector{found: probe.Result{State: probe.Healthy, PID: 1}}
	a, _ := newAgent(socket, i)
	ctx, cancel := context.WithCancel(t.Context())
	var ended sync.WaitGroup
	ended.Go(func() { a.Run(ctx) })
	defer ended.Wait()
	defer cancel()
	if err := a.Ready(); err == nil || !strings.Contains(err.Error(), "no container runtime") {
		t.Errorf("ready without a runtime: %v", err)
	}
	pod, system := newPod("p", "web"), newPod("s", "kube-system")
	r := startRuntime(t, socket, &runtime{
		pods: []*api.PodSandbox{pod, system},
		containers: []*api.Container{
			newContainer("a", "p", 11, running), newContainer("b", "p", 12, running),
			newContainer("c", "p", 13, created), newContainer("d", "s", 14, running),
			newContainer("e", "p", 0, running),
		},
	})
	waitFor(t, "remount", func() bool { return slices.Contains(i.take(), "remount a b") })
	waitFor(t, "the agent to be ready", func() bool { return a.Ready() == nil })
	waitFor(t, "the runtime to add the plug-in", func() bool {
		return r.StartContainer(ctx, &adaptation.StartContainerRequest{
			Pod: pod, Container: newContainer("c", "p", 13, created),
		}) == nil && len(a.list()) == 3
	})
	if calls := i.take(); calls[0] != "start c 13 web/pod-p/box" {
		t.Errorf("calls %q", calls)
	}
	if i.deadline <= 0 || i.deadline > adaptation.DefaultPluginRequestTimeout*3/4 {
		t.Errorf("a start had %v", i.deadline)
	}

	start := func(id string, annotations map[string]string) error {
		strictPod := newPod("p", "web")
		strictPod.Annotations = annotations
		return r.StartContainer(ctx, &adaptation.StartContainerRequest{
			Pod: strictPod, Container: newContainer(id, "p", 15, created),
		})
	}
	i.startErr = errors.New("lxcfs is away")
	if err := start("f", nil); err != nil {
		t.Errorf("lenient start: %v", err)
	}
	waitFor(t, "another try", func() bool { return slices.Contains(i.take(), "remount a b c f") })
	err := start("g", map[string]string{strictAnnotation: "true"})
	if err == nil || !strings.Contains(err.Error(), "must not start without lxcfs: lxcfs is away") {
		t.Errorf("strict start: %v", err)
	}
	i.startErr = mounts.ErrHostNamespace
	if err := start("h", map[string]string{strictAnnotation: "true"}); err != nil {
		t.Errorf("start of a virtual machine: %v", err)
	}
	i.take()
	_, err = r.StopContainer(ctx, &adaptation.StopContainerRequest{
		Pod: pod, Container: newContainer("a", "p", 0, api.ContainerState_CONTAINER_STOPPED),
	})
	if calls := i.take(); err != nil || !slices.Contains(calls, "forget 11") {
		t.Errorf("stop: %v, calls %q", err, calls)
	}
	err = r.RemoveContainer(ctx, &adaptation.RemoveContainerRequest{
		Container: newContainer("b", "p", 0, api.ContainerState_CONTAINER_STOPPED), // without its pod
	})
	if calls := i.take(); err != nil || !slices.Contains(calls, "forget 12") {
		t.Errorf("remove: %v, calls %q", err, calls)
	}
}

// TestReconnect has a runtime that ends the connection during the registration, and two that end it
// later.
func TestReconnect(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "nri.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	i := &injector{found: probe.Result{State: probe.Healthy, PID: 1}}
	a, _ := newAgent(socket, i)
	ctx, cancel := context.WithCancel(t.Context())
	var ended sync.WaitGroup
	ended.Go(func() { a.Run(ctx) })
	defer ended.Wait()
	defer cancel()
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(conn, make([]byte, 16)); err != nil { // a part of the registration
		t.Fatal(err)
	}
	conn.Close()
	for _, id := range []string{"a", "b"} {
		r := startRuntime(t, filepath.Join(t.TempDir(), "nri.sock"), &runtime{
			pods: []*api.PodSandbox{newPod("p", "web")},
			containers: []*api.Container{
				newContainer(id, "p", 11, api.ContainerState_CONTAINER_RUNNING),
			},
		})
		conn, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		disconnect := relay(t, conn, r.socket)
		waitFor(t, "remount", func() bool { return slices.Contains(i.take(), "remount "+id) })
		waitFor(t, "the agent to be ready", func() bool { return a.Ready() == nil })
		disconnect()
		waitFor(t, "the end of the connection", func() bool { return a.Ready() != nil })
	}
}

// relay connects a client to a socket, until the returned function is called.
func relay(t *testing.T, client net.Conn, socket string) (disconnect func()) {
	t.Helper()
	server, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	go io.Copy(client, server)
	go io.Copy(server, client)
	return func() {
		client.Close()
		server.Close()
	}
}

// TestFailedContainers has containers in which no files can be mounted.
func TestFailedContainers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := &injector{
			found: probe.Result{State: probe.Healthy, PID: 1}, outcome: toolkit.Failed,
		}
		a, _ := newAgent("", i)
		a.add(container{Container: engine.Container{ID: "a"}, log: slog.New(slog.DiscardHandler)})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go a.watch(ctx)
		time.Sleep(failedInterval * 5 / 2)
		synctest.Wait()
		if calls := strings.Join(i.take(), ", "); calls != "remount a, remount a, remount a" {
			t.Errorf("calls %q", calls)
		}
	})
}

func TestMetrics(t *testing.T) {
	a, registry := newAgent("/run/nri/nri.sock", new(injector))
	a.setConnected("/run/nri/nri.sock", true, []container{{Container: engine.Container{ID: "a"}}})
	a.lxcfs = probe.Healthy
	a.metrics.served.Inc()
	a.metrics.failed.Inc()
	a.metrics.starts.Observe(0.008)
	a.metrics.starts.Observe(1.4)
	a.metrics.skipped.WithLabelValues(byNamespace).Inc()
	a.metrics.remounts.WithLabelValues(remount, string(toolkit.Unchanged)).Inc()
	w := httptest.NewRecorder()
	handler := scrape.Handler(registry, nil)
	handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusOK {
		t.Fatalf("%d: %s", w.Code, w.Body)
	}
	golden.Check(t, "testdata/metrics.txt", w.Body.String())
}

// TestWatch has an lxcfs that comes and goes.
func TestWatch(t *testing.T) {
	healthy := func(minor uint32, pid int) probe.Result {
		return probe.Result{
			State: probe.Healthy, PID: pid, Device: sys.DeviceNumber{Minor: minor},
		}
	}
	dead := probe.Result{State: probe.Dead, Device: sys.DeviceNumber{Minor: 1}}
	wedged := probe.Result{State: probe.Wedged, Device: sys.DeviceNumber{Minor: 1}}
	gone := probe.Result{State: probe.NotMounted}
	i := new(injector)
	a, _ := newAgent("", i)
	a.add(container{Container: engine.Container{ID: "a"}, log: slog.New(slog.DiscardHandler)})
	w := watcher{Agent: a}
	for n, step := range []struct {
		found   probe.Result
		isStale bool
		err     error
		want    string
	}{
		{found: gone},
		{found: gone, isStale: true},
		{found: wedged},
		{found: healthy(1, 10), want: "remount a"},
		{found: healthy(1, 10)},
		{found: healthy(1, 10), isStale: true, err: errors.New("locked"), want: "remount a"},
		{found: healthy(1, 10), want: "remount a"},
		{found: healthy(1, 10)},
		{found: wedged, isStale: true},
		{found: healthy(1, 10), want: "remount a"},
		{found: healthy(1, 11), want: "remount a"}, // another process serves the same mount
		{found: healthy(2, 11), want: "remount a"},
		{found: dead, want: "umount a"},
		{found: dead},
		{found: healthy(3, 12), want: "remount a"},
		{found: gone, want: "umount a"},
		{found: gone},
		{found: dead, isStale: true, want: "umount a"},
	} {
		i.found, i.applyErr, w.isStale = step.found, step.err, w.isStale || step.isStale
		w.check(t.Context())
		if got := strings.Join(i.take(), ", "); got != step.want {
			t.Errorf("step %d: %s: calls %q, want %q", n, step.found.State, got, step.want)
		}
	}
}
