//go:build integration

package nri

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.yaml.in/yaml/v3"

	"palisade/test/engine"
)

// podTemplate has the fields of the agent's DaemonSet that the kubelet would pass on by CRI.
type podTemplate struct {
	Metadata struct{ Annotations map[string]string }
	Spec     struct {
		HostPID    bool `yaml:"hostPID"`
		Containers []struct {
			Args            []string
			VolumeMounts    []any `yaml:"volumeMounts"`
			SecurityContext struct {
				ReadOnlyRootFilesystem bool `yaml:"readOnlyRootFilesystem"`
				Capabilities           struct{ Add, Drop []string }
			} `yaml:"securityContext"`
			Resources struct{ Limits map[string]string }
		}
	}
}

// readManifest returns the pod of the DaemonSet in deploy/kubernetes.
func readManifest(t *testing.T) *podTemplate {
	t.Helper()
	f, err := os.Open("../../deploy/kubernetes/palisade.yaml")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for decoder := yaml.NewDecoder(f); ; {
		var object struct {
			Kind string
			Spec struct{ Template podTemplate }
		}
		if err := decoder.Decode(&object); errors.Is(err, io.EOF) {
			t.Fatal("the manifest has no DaemonSet")
		} else if err != nil {
			t.Fatal(err)
		}
		if object.Kind == "DaemonSet" {
			return &object.Spec.Template
		}
	}
}

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
	template := readManifest(t)
	c := template.Spec.Containers[0]
	if len(template.Spec.Containers) != 1 || len(c.VolumeMounts) > 0 || !template.Spec.HostPID {
		t.Fatalf("the pod needs more than this test gives it: %+v", template)
	}
	args := slices.DeleteFunc(c.Args, func(arg string) bool {
		option, _, _ := strings.Cut(arg, "=")
		return slices.Contains([]string{"--socket", "--metrics", "--install"}, option)
	})
	args = append(args, "--socket="+n.nriSocket, "--metrics-socket="+n.path("metrics.sock"),
		"--install="+n.path("install"))
	security := map[string]any{
		"privileged":        isPrivileged,
		"readonly_rootfs":   c.SecurityContext.ReadOnlyRootFilesystem,
		"namespace_options": map[string]any{"pid": nodeNS, "network": nodeNS},
		"seccomp":           map[string]any{"profile_type": 1}, // unconfined
		"capabilities": map[string]any{
			"add_capabilities":  c.SecurityContext.Capabilities.Add,
			"drop_capabilities": c.SecurityContext.Capabilities.Drop,
		},
	}
	if isPrivileged {
		delete(security, "capabilities")
	}
	pod := n.write(t, "agent.json", map[string]any{
		"metadata":      map[string]any{"name": "agent", "uid": "agent", "namespace": "kube-system"},
		"annotations":   template.Metadata.Annotations,
		"log_directory": n.dir,
		"linux":         map[string]any{"cgroup_parent": n.cgroup, "security_context": security},
	})
	container := n.write(t, "agent-container.json", map[string]any{
		"metadata": map[string]any{"name": "palisade-nri"},
		"image":    map[string]any{"image": image},
		"args":     args,
		"log_path": "agent.log",
		"linux": map[string]any{
			"resources":        map[string]any{"memory_limit_in_bytes": 256 << 20},
			"security_context": security,
		},
	})
	t.Cleanup(func() {
		if t.Failed() {
			text, _ := os.ReadFile(n.path("agent.log")) // for the message only
			t.Logf("the agent: %s", text)
		}
	})
	sandbox = strings.TrimSpace(n.crictl(t, "runp", pod))
	id := strings.TrimSpace(n.crictl(t, "create", sandbox, container, pod))
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
