//go:build integration

package nri

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/containerd/nri/pkg/api"
	"github.com/containerd/nri/pkg/stub"

	"palisade/test/engine"
)

// validator enables NRI's default validator.
const validator = `[plugins."io.containerd.nri.v1.nri".default_validator]
enable = true
`

// hooker is a plug-in of NRI that adds a hook to containers.
type hooker struct{ synchronized chan struct{} }

func (h *hooker) Synchronize(
	context.Context, []*api.PodSandbox, []*api.Container,
) ([]*api.ContainerUpdate, error) {
	close(h.synchronized)
	return nil, nil
}

func (h *hooker) CreateContainer(
	context.Context, *api.PodSandbox, *api.Container,
) (*api.ContainerAdjustment, []*api.ContainerUpdate, error) {
	a := new(api.ContainerAdjustment)
	a.AddHooks(&api.Hooks{CreateRuntime: []*api.Hook{{Path: "/bin/true"}}})
	return a, nil, nil
}

// startHooker runs a hooker until stop is called.
func (n *node) startHooker(t *testing.T) (stop func()) {
	t.Helper()
	conn, err := net.Dial("unix", n.nriSocket)
	if err != nil {
		t.Fatal(err)
	}
	h := &hooker{make(chan struct{})}
	plugin, err := stub.New(h, stub.WithPluginName("hooker"), stub.WithPluginIdx("10"),
		stub.WithConnection(conn))
	if err != nil {
		t.Fatal(err)
	}
	if err := plugin.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-h.synchronized
	return func() { plugin.Stop(); plugin.Wait() }
}

// createError returns the error of containerd for a new container of a pod.
func (n *node) createError(t *testing.T, p pod) string {
	t.Helper()
	sandbox, container := n.writePod(t, &p)
	p.sandbox = strings.TrimSpace(n.crictl(t, "runp", sandbox))
	return n.runCrictl(t, "create", p.sandbox, container, sandbox).Stderr
}

// TestHooksAreRejected has a containerd whose validator rejects plug-ins that add hooks.
func TestHooksAreRejected(t *testing.T) {
	n := newNode(t, validator+"reject_oci_hook_adjustment = true")
	stop := n.startHooker(t)
	want := "attempted restricted OCI hook injection"
	if got := n.createError(t, limited()); !strings.Contains(got, want) {
		t.Errorf("the validator accepts a hook: %s, want %q", got, want)
	}
	stop()
	n.startAgent(t)
	if got := n.start(t, limited()).first(t); !slices.Equal(got, own) {
		t.Errorf("the first process reads %q, want %q", got, own)
	}
}

// missingAgent is in the error for a container that requires the agent.
const missingAgent = `palisade-nri\" not present`

// TestRequiredAgent has a pod whose containers must not be created without the agent.
func TestRequiredAgent(t *testing.T) {
	n := newNode(t, validator)
	p := limited()
	p.annotations = map[string]string{"required-plugins.noderesource.dev": `["palisade-nri"]`}
	if got := n.createError(t, p); !strings.Contains(got, missingAgent) {
		t.Errorf("a container without the agent: %s, want %q", got, missingAgent)
	}
	n.start(t, limited()) // does not require it
	n.startAgent(t)
	if got := n.start(t, p).first(t); !slices.Equal(got, own) {
		t.Errorf("the first process reads %q, want %q", got, own)
	}
}

// TestTwoRuntimes has one agent for two containerds, of which one ends and is started again.
func TestTwoRuntimes(t *testing.T) {
	n, other := newNode(t), prepareNode(t)
	n.startAgent(t, "--socket", other.nriSocket)
	other.agent = n.agent
	connected := func(socket string) float64 {
		return n.metric(t, "palisade_nri_runtime_connected", fmt.Sprintf("socket=%q", socket))
	}
	engine.WaitFor(t, "the agent to be connected to both", func() bool {
		return connected(other.nriSocket) == 1
	})
	var pods []*pod
	check := func(n *node) {
		t.Helper()
		p := n.start(t, limited())
		if got := p.first(t); !slices.Equal(got, own) {
			t.Errorf("the first process reads %q, want %q", got, own)
		}
		pods = append(pods, p)
	}
	check(n)
	check(other)
	other.containerd.stop(t, syscall.SIGKILL)
	engine.WaitFor(t, "the agent to lose one", func() bool { return connected(other.nriSocket) == 0 })
	if connected(n.nriSocket) != 1 {
		t.Error("the agent has lost both")
	}
	check(n)
	if err := n.lxcfs.Kill(); err != nil { // also for the pods of the runtime that is away
		t.Fatal(err)
	}
	n.startLxcfs(t)
	n.waitForMemTotal(t, pods[2], limitedTotal)
	other.startContainerd(t)
	engine.WaitFor(t, "the agent to be connected again", func() bool {
		return connected(other.nriSocket) == 1
	})
	other.waitForMemTotal(t, pods[1], limitedTotal)
	check(other)
	if got := n.metric(t, "palisade_nri_containers", ""); got != 4 {
		t.Errorf("%v containers, want 4", got)
	}
}
