//go:build integration

package nri

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"palisade/test/ctr"
	"palisade/test/engine"
)

// node is a node of Kubernetes without a kubelet: a containerd with its pods, an lxcfs and an
// agent.
type node struct {
	dir, cgroup string
	// socket is the socket of CRI, nriSocket that of NRI.
	socket, nriSocket string
	// lxcfsDir is the directory of lxcfs, that of its mount point.
	lxcfsDir   string
	containerd *process
	lxcfs      *ctr.Daemon
	agent      *process
}

// configuration is containerd's, before what a test adds to the configuration of NRI. The arguments
// are the node's directory, the state of containerd, and the socket of NRI and its timeouts.
const configuration = `version = 3
root = "%[1]s/root"
state = %[2]q
disabled_plugins = ["io.containerd.internal.v1.tracing"]
[grpc]
address = "%[2]s/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
path = "%[1]s/opt"
[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "` + pauseImage + `"
[plugins."io.containerd.cri.v1.runtime"]
restrict_oom_score_adj = true
disable_apparmor = true
[plugins."io.containerd.cri.v1.runtime".cni]
bin_dirs = ["%[1]s/cni"]
conf_dir = "%[1]s/cni"
use_internal_loopback = true
[plugins."io.containerd.nri.v1.nri"]
socket_path = %[3]q
plugin_path = "%[1]s/plugins"
plugin_config_path = "%[1]s/conf.d"
plugin_registration_timeout = %[4]q
plugin_request_timeout = %[5]q
`

// newNode starts containerd and lxcfs, but no agent.
func newNode(t testing.TB, configuration ...string) *node {
	t.Helper()
	n := prepareNode(t, configuration...)
	n.lxcfsDir = n.dir
	n.startLxcfs(t)
	return n
}

// prepareNode starts containerd, with lines for the end of its configuration.
func prepareNode(t testing.TB, lines ...string) *node {
	t.Helper()
	n := &node{dir: t.TempDir(), cgroup: engine.ParentCgroup(t)}
	run := fmt.Sprintf("/run/node-%08x", rand.Uint32()) // sockets have short paths
	n.socket, n.nriSocket = run+"/containerd.sock", run+"/nri.sock"
	text := fmt.Sprintf(configuration, n.dir, run, n.nriSocket, // and the default timeouts
		engine.Bound(5*time.Second).String(), engine.Bound(2*time.Second).String())
	text += strings.Join(lines, "\n")
	if err := os.WriteFile(n.path("config.toml"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	n.writeCNI(t)
	t.Cleanup(func() { n.cleanUp(t) })
	n.startContainerd(t)
	n.importImages(t, shared.images)
	return n
}

// cniPlugin is a network plug-in for pods with a network namespace, which stays empty.
const cniPlugin = `#!/bin/sh
case $CNI_COMMAND in
ADD) echo '{"cniVersion": "1.0.0", "ips": [{"address": "192.0.2.2/24"}]}' ;;
VERSION) echo '{"cniVersion": "1.0.0", "supportedVersions": ["1.0.0"]}' ;;
esac
`

const cniConfiguration = `{"cniVersion": "1.0.0", "name": "test", "plugins": [{"type": "empty"}]}`

func (n *node) writeCNI(t testing.TB) {
	t.Helper()
	err := errors.Join(os.Mkdir(n.path("cni"), 0o755),
		os.WriteFile(n.path("cni/empty"), []byte(cniPlugin), 0o755),
		os.WriteFile(n.path("cni/test.conflist"), []byte(cniConfiguration), 0o644))
	if err != nil {
		t.Fatal(err)
	}
}

func (n *node) path(name string) string { return filepath.Join(n.dir, name) }

func (n *node) startContainerd(t testing.TB) {
	t.Helper()
	n.containerd = start(t, "containerd", "--config", n.path("config.toml"))
	engine.WaitFor(t, "containerd to answer", func() bool {
		return n.runCrictl(t, "version").Code == 0
	})
}

func (n *node) startLxcfs(t testing.TB) {
	t.Helper()
	var err error
	if n.lxcfs, err = ctr.StartDaemon(t.Context(), shared.lxcfs, n.lxcfsDir); err != nil {
		t.Fatal(err)
	}
}

func (n *node) importImages(t testing.TB, archive string) {
	t.Helper()
	n.must(t, "ctr", "-a", n.socket, "-n", "k8s.io", "images", "import", "--local", archive)
}

// startAgent starts an agent, and waits until it has called at containerd.
func (n *node) startAgent(t testing.TB, flags ...string) {
	t.Helper()
	args := append([]string{"--socket", n.nriSocket, "--mountpoint", filepath.Join(n.lxcfsDir, "lxcfs"),
		"--runtime-dir", n.path("toolkit"), "--metrics-socket", n.path("metrics.sock")}, flags...)
	n.agent = start(t, shared.agent, args...)
	n.waitForConnection(t)
}

func (n *node) waitForConnection(t testing.TB) {
	t.Helper()
	engine.WaitFor(t, "the agent to be connected", func() bool {
		return n.metric(t, "palisade_nri_runtime_connected", `socket="`+n.nriSocket+`"`) == 1
	})
}

// metric returns the value of a metric of the agent, -1 if there is none.
func (n *node) metric(t testing.TB, name, labels string) float64 {
	t.Helper()
	metrics, err := ctr.Scrape(t.Context(), n.path("metrics.sock"))
	if err != nil {
		return -1
	}
	return metrics.Value(name, labels)
}

// cleanUp removes all pods and stops all daemons.
func (n *node) cleanUp(t testing.TB) {
	if n.agent != nil {
		n.agent.stop(t, syscall.SIGTERM)
	}
	if n.containerd != nil {
		for pod := range strings.FieldsSeq(n.crictl(t, "pods", "-q")) {
			n.crictl(t, "rmp", "-f", pod)
		}
		n.containerd.stop(t, syscall.SIGTERM)
	}
	if n.lxcfs != nil {
		if err := n.lxcfs.Kill(); err != nil {
			t.Error(err)
		}
	}
	if t.Failed() {
		for _, p := range []*process{n.containerd, n.agent} {
			if p != nil {
				text := p.log.String()
				t.Logf("%s: %s", p.cmd.Path, text[max(0, len(text)-6000):])
			}
		}
	}
}

// must runs a program, and returns its output.
func (n *node) must(t testing.TB, program string, args ...string) string {
	t.Helper()
	r := engine.Run(t, "", program, args...)
	if r.Code != 0 {
		t.Fatalf("%s %q: %s%s", program, args, r.Stdout, r.Stderr)
	}
	return r.Stdout
}

func (n *node) crictl(t testing.TB, args ...string) string {
	t.Helper()
	r := n.runCrictl(t, args...)
	if r.Code != 0 {
		t.Fatalf("crictl %q: %s%s", args, r.Stdout, r.Stderr)
	}
	return r.Stdout
}

// runCrictl runs crictl, and returns its result.
func (n *node) runCrictl(t testing.TB, args ...string) engine.Ran {
	t.Helper()
	args = append([]string{"-r", "unix://" + n.socket, "-t", engine.Bound(50 * time.Second).String()}, args...)
	return engine.Run(t, "", "crictl", args...)
}

// pod is a pod with one container, which prints what it reads and sleeps.
type pod struct {
	namespace           string
	labels, annotations map[string]string
	// memory is the limit in MiB, cpus the number of CPUs.
	memory, cpus int
	// pid is the pid namespace (NamespaceMode of CRI).
	pid          int
	isPrivileged bool
	// hasUserNS is set if the pod has a user namespace.
	hasUserNS bool
	// command is that of the container, look if it is empty, image its image, boxImage if it is "".
	command []string
	image   string

	sandbox, container, log string
}

// look is the container's script: its first process prints the memory in MiB by free(1) of procps,
// and the numbers of MemTotal and of processors.
const look = `/bin/free -m | sed -n 's/^Mem: *\([0-9]*\).*/free \1/p'
sed -n 's/^MemTotal: *//p' /proc/meminfo
grep -c ^processor /proc/cpuinfo
exec sleep 1000000`

// write writes a request of CRI as JSON, and returns the file.
func (n *node) write(t testing.TB, name string, request map[string]any) string {
	t.Helper()
	text, err := json.Marshal(request)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(n.path(name), text, 0o644); err != nil {
		t.Fatal(err)
	}
	return n.path(name)
}

// create creates the pod and its container, without starting that.
func (n *node) create(t testing.TB, p *pod) {
	t.Helper()
	sandbox, container := n.writePod(t, p)
	p.sandbox = strings.TrimSpace(n.crictl(t, "runp", sandbox))
	p.container = strings.TrimSpace(n.crictl(t, "create", p.sandbox, container, sandbox))
}

// writePod writes the requests for a pod and its container.
func (n *node) writePod(t testing.TB, p *pod) (sandbox, container string) {
	t.Helper()
	name := fmt.Sprintf("pod-%08x", rand.Uint32())
	if p.namespace == "" {
		p.namespace = "default"
	}
	if len(p.command) == 0 {
		p.command = []string{"/bin/sh", "-c", look}
	}
	p.log = n.path(name + ".log")
	namespaces := map[string]any{"pid": p.pid, "network": engine.NodeNamespace}
	if p.hasUserNS { // then the kubelet rejects the node's network
		ids := []any{map[string]any{"host_id": 200000, "container_id": 0, "length": 65536}}
		namespaces["network"] = engine.PodNamespace
		namespaces["userns_options"] = map[string]any{"mode": engine.PodNamespace, "uids": ids, "gids": ids}
	}
	security := map[string]any{"privileged": p.isPrivileged, "namespace_options": namespaces}
	sandbox = n.write(t, name+".json", map[string]any{
		"metadata":      map[string]any{"name": name, "uid": name, "namespace": p.namespace},
		"labels":        p.labels,
		"annotations":   p.annotations,
		"log_directory": n.dir,
		"linux":         map[string]any{"cgroup_parent": n.cgroup, "security_context": security},
	})
	container = n.write(t, name+"-container.json", map[string]any{
		"metadata": map[string]any{"name": "box"},
		"image":    map[string]any{"image": cmp.Or(p.image, boxImage)},
		"command":  p.command,
		"log_path": name + ".log",
		"linux": map[string]any{
			"resources": map[string]any{
				"memory_limit_in_bytes": p.memory << 20,
				"cpu_period":            100000,
				"cpu_quota":             p.cpus * 100000,
			},
			"security_context": security,
		},
	})
	return sandbox, container
}

// start creates and starts a pod.
func (n *node) start(t testing.TB, p pod) *pod {
	t.Helper()
	n.create(t, &p)
	n.crictl(t, "start", p.container)
	return &p
}

// first returns what the first process of a pod has read.
func (p *pod) first(t testing.TB) (lines []string) {
	t.Helper()
	engine.WaitFor(t, "the container's output", func() bool {
		text, err := os.ReadFile(p.log)
		lines = nil
		for line := range strings.Lines(string(text)) {
			fields := strings.SplitN(strings.TrimSpace(line), " ", 4) // the time, stdout, F
			lines = append(lines, fields[len(fields)-1])
		}
		return err == nil && len(lines) == 3
	})
	return lines
}

// memTotal returns MemTotal as a process in the pod reads it now.
func (n *node) memTotal(t testing.TB, p *pod) string {
	t.Helper()
	return strings.TrimSpace(n.crictl(t, "exec", "-s", p.container,
		"sed", "-n", "s/^MemTotal: *//p", "/proc/meminfo"))
}

// hostMemTotal returns the host's MemTotal.
func hostMemTotal(t testing.TB) string {
	t.Helper()
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		t.Fatal(err)
	}
	line, _, _ := strings.Cut(string(text), "\n")
	return strings.TrimSpace(strings.TrimPrefix(line, "MemTotal:"))
}

// waitForMemTotal waits until processes in the pod read the value.
func (n *node) waitForMemTotal(t testing.TB, p *pod, want string) {
	t.Helper()
	engine.WaitFor(t, "MemTotal "+want, func() bool {
		// It fails while a dead lxcfs is mounted.
		r := n.runCrictl(t, "exec", "-s", p.container, "grep", "MemTotal", "/proc/meminfo")
		return strings.HasSuffix(strings.TrimSpace(r.Stdout), " "+want)
	})
}

// process is a daemon.
type process struct {
	cmd  *exec.Cmd
	log  *ctr.LockedBuffer
	done chan error
}

// start starts a daemon, which ends at the latest with the test program.
func start(t testing.TB, program string, args ...string) *process {
	t.Helper()
	p := &process{
		cmd: exec.Command(program, args...), log: new(ctr.LockedBuffer), done: make(chan error, 1),
	}
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	if err := ctr.StartTied(p.cmd, syscall.SIGKILL, p.done); err != nil {
		t.Fatal(err)
	}
	return p
}

// stop signals the daemon, and waits until it ends.
func (p *process) stop(t testing.TB, signal syscall.Signal) {
	t.Helper()
	if p.cmd.ProcessState != nil {
		return
	}
	p.cmd.Process.Signal(signal)
	select {
	case <-p.done:
	case <-time.After(20 * time.Second):
		p.cmd.Process.Kill()
		t.Errorf("%s does not end: %s", p.cmd.Path, p.log)
		<-p.done
	}
}
