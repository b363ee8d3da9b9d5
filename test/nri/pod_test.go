//go:build integration

package nri

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"palisade/test/engine"
)

// buildImage builds the image of the agent, and returns its name and directory.
var buildImage = sync.OnceValues(func() (image struct{ name, dir string }, err error) {
	image.dir = filepath.Join(shared.dir, "image")
	cmd := exec.Command("make", "--no-print-directory", "-C", "../..", "image", "IMAGE="+image.dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return image, fmt.Errorf("make image: %w: %s", err, out)
	}
	for line := range strings.Lines(string(out)) {
		if name, _, ok := strings.Cut(line, "@sha256:"); ok {
			image.name = name
			return image, nil
		}
	}
	return image, fmt.Errorf("make image names no image: %s", out)
})

// importImage imports the image of the agent, and returns its name.
func (n *node) importImage(t *testing.T) string {
	t.Helper()
	image, err := buildImage()
	if err != nil {
		t.Fatal(err)
	}
	n.importImages(t, filepath.Join(image.dir, "palisade-nri-"+runtime.GOARCH+".tar"))
	return image.name
}

// startAgentPod starts the agent in a pod as the manifest describes it, with other paths, and waits
// until it has called at containerd.
func (n *node) startAgentPod(t *testing.T, image string, isPrivileged bool) (sandbox string) {
	t.Helper()
	pod, container := engine.AgentPod(t, "../../deploy/kubernetes/palisade.yaml", image, isPrivileged,
		[]string{"--socket", "--metrics", "--install"}, "--socket="+n.nriSocket,
		"--metrics-socket="+n.path("metrics.sock"), "--install="+n.path("install"))
	pod["log_directory"] = n.dir
	pod["linux"].(map[string]any)["cgroup_parent"] = n.cgroup
	podFile := n.write(t, "agent.json", pod)
	containerFile := n.write(t, "agent-container.json", container)
	t.Cleanup(func() {
		if t.Failed() {
			text, _ := os.ReadFile(n.path("agent.log")) // for the message only
			t.Logf("the agent: %s", text)
		}
	})
	sandbox = strings.TrimSpace(n.crictl(t, "runp", podFile))
	id := strings.TrimSpace(n.crictl(t, "create", sandbox, containerFile, podFile))
	n.crictl(t, "start", id)
	n.waitForConnection(t)
	return sandbox
}

// newPodNode starts containerd on a node where the mount point of lxcfs is the default.
func newPodNode(t *testing.T, configuration ...string) *node {
	t.Helper()
	engine.OwnLib(t)
	n := prepareNode(t, configuration...)
	n.lxcfsDir = "/var/lib/lxc"
	return n
}

// TestAgentInPod runs the image of the agent as the manifest does, with the capabilities that it
// has there, on a node that has an lxcfs, and that creates no container without the agent.
func TestAgentInPod(t *testing.T) {
	n := newPodNode(t, validator+"required_plugins = [\"palisade-nri\"]\n"+
		"tolerate_missing_plugins_annotation = \"tolerate-missing-plugins.noderesource.dev\"")
	n.startLxcfs(t)
	if got := n.createError(t, limited()); !strings.Contains(got, missingAgent) {
		t.Errorf("a container without the agent: %s, want %q", got, missingAgent)
	}
	sandbox := n.startAgentPod(t, n.importImage(t), false)
	p := n.start(t, limited())
	if got := p.first(t); !slices.Equal(got, own) {
		t.Errorf("the first process reads %q, want %q", got, own)
	}
	if err := n.lxcfs.Kill(); err != nil {
		t.Fatal(err)
	}
	n.waitForMemTotal(t, p, hostMemTotal(t))
	n.startLxcfs(t)
	n.waitForMemTotal(t, p, limitedTotal)
	n.crictl(t, "rmp", "-f", sandbox)
	if got := n.memTotal(t, p); got != limitedTotal {
		t.Errorf("MemTotal is %s without the agent, want %s", got, limitedTotal)
	}
}

// TestAgentRunsLxcfs runs the image with the value privileged: true, on a node without systemd and
// without an lxcfs.
func TestAgentRunsLxcfs(t *testing.T) {
	n := newPodNode(t)
	sandbox := n.startAgentPod(t, n.importImage(t), true)
	engine.WaitFor(t, "the agent to run lxcfs", func() bool {
		return n.metric(t, "palisade_nri_lxcfs_state", `state="healthy"`) == 1
	})
	p := n.start(t, limited())
	if got := p.first(t); !slices.Equal(got, own) {
		t.Errorf("the first process reads %q, want %q", got, own)
	}
	// As the kubelet does: terminationGracePeriodSeconds.
	n.crictl(t, "stop", "--timeout", "30", strings.TrimSpace(n.crictl(t, "ps", "-q", "-p", sandbox)))
	if got := n.memTotal(t, p); got != hostMemTotal(t) {
		t.Errorf("MemTotal is %s without the agent, want that of the host", got)
	}
	n.crictl(t, "rmp", "-f", sandbox)
}
