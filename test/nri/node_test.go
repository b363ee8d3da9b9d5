//go:build integration

package nri

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
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
	// lxcfsDir is the directory of lxcfs, that of its mount point.
	lxcfsDir   string
	containerd *process
	lxcfs      *ctr.Daemon
	agent      *process
}

const (
	socket    = "/run/containerd/containerd.sock"
	nriSocket = "/run/nri/nri.sock"
)

// configuration is containerd's. The arguments are its root and a directory for empty ones.
const configuration = `version = 3
root = %q
state = "/run/containerd"
disabled_plugins = ["io.containerd.internal.v1.tracing"]
[grpc]
address = "` + socket + `"
[plugins."io.containerd.internal.v1.opt"]
path = "%[2]s/opt"
[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "` + pauseImage + `"
[plugins."io.containerd.cri.v1.runtime"]
restrict_oom_score_adj = true
disable_apparmor = true
[plugins."io.containerd.nri.v1.nri"]
socket_path = "` + nriSocket + `"
plugin_path = "%[2]s/plugins"
plugin_config_path = "%[2]s/conf.d"
`

// newNode starts containerd and lxcfs, but no agent.
func newNode(t *testing.T) *node {
	t.Helper()
	n := prepareNode(t)
	n.lxcfsDir = n.dir
	n.startLxcfs(t)
	return n
}

// prepareNode starts containerd.
func prepareNode(t *testing.T) *node {
	t.Helper()
	n := &node{dir: t.TempDir(), cgroup: engine.ParentCgroup(t)}
	text := fmt.Sprintf(configuration, filepath.Join(n.dir, "root"), n.dir)
	if err := os.WriteFile(n.path("config.toml"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.cleanUp(t) })
	n.startContainerd(t)
	n.must(t, "ctr", "-n", "k8s.io", "images", "import", "--local", shared.images)
	return n
}

func (n *node) path(name string) string { return filepath.Join(n.dir, name) }

func (n *node) startContainerd(t *testing.T) {
	t.Helper()
	n.containerd = start(t, "containerd", "--config", n.path("config.toml"))
	engine.WaitFor(t, "containerd to answer", func() bool {
		return engine.Run(t, "", "crictl", "-r", "unix://"+socket, "version").Code == 0
	})
}

func (n *node) startLxcfs(t *testing.T) {
	t.Helper()
	var err error
	if n.lxcfs, err = ctr.StartDaemon(t.Context(), shared.lxcfs, n.lxcfsDir); err != nil {
		t.Fatal(err)
	}
}

// startAgent starts an agent, and waits until it has called at containerd.
func (n *node) startAgent(t *testing.T, flags ...string) {
	t.Helper()
	args := append([]string{"--socket", nriSocket, "--mountpoint", n.path("lxcfs"),
		"--runtime-dir", n.path("toolkit"), "--metrics-socket", n.path("metrics.sock")}, flags...)
	n.agent = start(t, shared.agent, args...)
	n.waitForConnection(t)
}

func (n *node) waitForConnection(t *testing.T) {
	t.Helper()
	engine.WaitFor(t, "the agent to be connected", func() bool {
		return n.metric(t, "palisade_nri_runtime_connected", `socket="`+nriSocket+`"`) == 1
	})
}

// metric returns the value of a metric of the agent, -1 if there is none.
func (n *node) metric(t *testing.T, name, labels string) float64 {
	t.Helper()
	metrics, err := ctr.Scrape(t.Context(), n.path("metrics.sock"))
	if err != nil {
		return -1
	}
	return metrics.Value(name, labels)
}

// cleanUp removes all pods and stops all daemons.
func (n *node) cleanUp(t *testing.T) {
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
func (n *node) must(t *testing.T, program string, args ...string) string {
	t.Helper()
	r := engine.Run(t, "", program, args...)
	if r.Code != 0 {
		t.Fatalf("%s %q: %s%s", program, args, r.Stdout, r.Stderr)
	}
	return r.Stdout
}

func (n *node) crictl(t *testing.T, args ...string) string {
	t.Helper()
	return n.must(t, "crictl", append([]string{"-r", "unix://" + socket}, args...)...)
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

	sandbox, container, log string
}

// look is the container's script: its first process prints the memory in MiB by free(1) of procps,
// and the numbers of MemTotal and of processors.
const look = `/bin/free -m | sed -n 's/^Mem: *\([0-9]*\).*/free \1/p'
sed -n 's/^MemTotal: *//p' /proc/meminfo
grep -c ^processor /proc/cpuinfo
exec sleep 1000000`

// write writes a request of CRI as JSON, and returns the file.
func (n *node) write(t *testing.T, name string, request map[string]any) string {
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

// Pid namespaces of a container.
const (
	podPID = iota
	ownPID // the kubelet's default
	nodePID
)

// create creates the pod and its container, without starting that.
func (n *node) create(t *testing.T, p *pod) {
	t.Helper()
	name := fmt.Sprintf("pod-%08x", rand.Uint32())
	if p.namespace == "" {
		p.namespace = "default"
	}
	p.log = n.path(name + ".log")
	security := map[string]any{
		"privileged":        p.isPrivileged,
		"namespace_options": map[string]any{"pid": p.pid, "network": 2}, // the node's, without CNI
	}
	sandbox := n.write(t, name+".json", map[string]any{
		"metadata":      map[string]any{"name": name, "uid": name, "namespace": p.namespace},
		"labels":        p.labels,
		"annotations":   p.annotations,
		"log_directory": n.dir,
		"linux":         map[string]any{"cgroup_parent": n.cgroup, "security_context": security},
	})
	container := n.write(t, name+"-container.json", map[string]any{
		"metadata": map[string]any{"name": "box"},
		"image":    map[string]any{"image": boxImage},
		"command":  []string{"/bin/sh", "-c", look},
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
	p.sandbox = strings.TrimSpace(n.crictl(t, "runp", sandbox))
	p.container = strings.TrimSpace(n.crictl(t, "create", p.sandbox, container, sandbox))
}

// start creates and starts a pod.
func (n *node) start(t *testing.T, p pod) *pod {
	t.Helper()
	n.create(t, &p)
	n.crictl(t, "start", p.container)
	return &p
}

// first returns what the first process of a pod has read.
func (p *pod) first(t *testing.T) (lines []string) {
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
func (n *node) memTotal(t *testing.T, p *pod) string {
	t.Helper()
	return strings.TrimSpace(n.crictl(t, "exec", "-s", p.container,
		"sed", "-n", "s/^MemTotal: *//p", "/proc/meminfo"))
}

// hostMemTotal returns the host's MemTotal.
func hostMemTotal(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		t.Fatal(err)
	}
	line, _, _ := strings.Cut(string(text), "\n")
	return strings.TrimSpace(strings.TrimPrefix(line, "MemTotal:"))
}

// waitForMemTotal waits until processes in the pod read the value.
func (n *node) waitForMemTotal(t *testing.T, p *pod, want string) {
	t.Helper()
	engine.WaitFor(t, "MemTotal "+want, func() bool {
		r := engine.Run(t, "", "crictl", "-r", "unix://"+socket, "exec", "-s", p.container,
			"grep", "MemTotal", "/proc/meminfo") // fails while a dead lxcfs is mounted
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
func start(t *testing.T, program string, args ...string) *process {
	t.Helper()
	p := &process{
		cmd: exec.Command(program, args...), log: new(ctr.LockedBuffer), done: make(chan error, 1),
	}
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // Pdeathsig kills it when the thread ends
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			p.done <- p.cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	return p
}

// stop signals the daemon, and waits until it ends.
func (p *process) stop(t *testing.T, signal syscall.Signal) {
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
