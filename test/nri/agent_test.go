//go:build integration

package nri

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"palisade/test/ctr"
	"palisade/test/engine"
)

// limited returns a pod with limits that no host has.
func limited() pod { return pod{memory: 96, cpus: 1, pid: engine.ContainerNamespace} }

const limitedTotal = "98304 kB"

// own is what the first process of limited reads with lxcfs.
var own = []string{"free 96", limitedTotal, "1"}

// TestFirstProcess starts a pod with limits, changes them, and removes the pod.
func TestFirstProcess(t *testing.T) {
	n := newNode(t)
	n.startAgent(t)
	p := n.start(t, limited())
	if got := p.first(t); !slices.Equal(got, own) {
		t.Errorf("the first process reads %q, want %q", got, own)
	}
	n.crictl(t, "update", "--memory", "134217728", p.container)
	if got := n.memTotal(t, p); got != "131072 kB" {
		t.Errorf("MemTotal is %s after the update, want 131072 kB", got)
	}
	if got := n.metric(t, "palisade_nri_starts_total", `result="served"`); got != 1 {
		t.Errorf("%v containers are served, want 1", got)
	}
	n.crictl(t, "rmp", "-f", p.sandbox)
	engine.WaitFor(t, "the agent to forget the container", func() bool {
		return n.metric(t, "palisade_nri_containers", "") == 0
	})
	left, err := os.ReadDir(n.path("toolkit/containers"))
	if err != nil || len(left) > 0 {
		t.Errorf("registry has %v, %v", left, err)
	}
}

// TestSelection starts pods that get the files, and pods that do not.
func TestSelection(t *testing.T) {
	n := newNode(t)
	n.startAgent(t, "--off-namespace", "kube-system", "--off-namespace", "quiet",
		"--off-label", "proc=host", "--on-label", "proc=own")
	annotation := func(value string) map[string]string {
		return map[string]string{"palisade.proc": value}
	}
	for _, tt := range []struct {
		name, namespace    string
		label, annotations map[string]string
		isOwn              bool
		reason             string
	}{
		{name: "default", isOwn: true},
		{name: "kube-system", namespace: "kube-system", reason: "namespace"},
		{name: "quiet", namespace: "quiet", reason: "namespace"},
		{name: "annotated off", annotations: annotation("false"), reason: "annotation"},
		{name: "annotated on", namespace: "kube-system", annotations: annotation("true"), isOwn: true},
		{name: "annotated wrongly", annotations: annotation("no"), isOwn: true},
		{name: "labelled off", label: map[string]string{"proc": "host"}, reason: "label"},
		{name: "labelled on", namespace: "quiet", label: map[string]string{"proc": "own"}, isOwn: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			labels := fmt.Sprintf("reason=%q", tt.reason)
			before := n.metric(t, "palisade_nri_skipped_total", labels)
			p := limited()
			p.namespace, p.labels, p.annotations = tt.namespace, tt.label, tt.annotations
			got, want := n.start(t, p).first(t)[1], hostMemTotal(t)
			if tt.isOwn {
				want = limitedTotal
			}
			if got != want {
				t.Errorf("MemTotal is %s, want %s", got, want)
			}
			if after := n.metric(t, "palisade_nri_skipped_total", labels); !tt.isOwn && after != before+1 {
				t.Errorf("%v containers skipped by %s, want %v", after, tt.reason, before+1)
			}
		})
	}
	if !strings.Contains(n.agent.log.String(), `annotation palisade.proc is \"no\", want true or false`) {
		t.Errorf("no warning about an annotation: %s", n.agent.log)
	}
}

// TestKindsOfPods starts pods with other namespaces and rights, and has the agent find them again.
func TestKindsOfPods(t *testing.T) {
	n := newNode(t)
	n.startAgent(t)
	shared, host, privileged := limited(), limited(), limited()
	shared.pid, host.pid, privileged.isPrivileged = engine.PodNamespace, engine.NodeNamespace, true
	var pods []*pod
	for _, p := range []pod{shared, host, privileged} {
		pods = append(pods, n.start(t, p))
		if got := pods[len(pods)-1].first(t); !slices.Equal(got, own) {
			t.Errorf("%+v: the first process reads %q, want %q", p, got, own)
		}
	}
	n.agent.stop(t, syscall.SIGTERM)
	if err := n.lxcfs.Kill(); err != nil {
		t.Fatal(err)
	}
	n.startLxcfs(t)
	n.startAgent(t)
	for _, p := range pods {
		n.waitForMemTotal(t, p, limitedTotal)
	}
}

// TestLxcfsHangs starts a pod while lxcfs does not answer: the runtime neither waits for long nor
// disconnects the agent.
func TestLxcfsHangs(t *testing.T) {
	n := newNode(t)
	n.startAgent(t)
	if err := n.lxcfs.Freeze(); err != nil {
		t.Fatal(err)
	}
	p := n.start(t, limited())
	if got, want := p.first(t)[1], hostMemTotal(t); got != want {
		t.Errorf("MemTotal is %s, want %s", got, want)
	}
	if err := n.lxcfs.Thaw(); err != nil {
		t.Fatal(err)
	}
	n.waitForMemTotal(t, p, limitedTotal)
	if log := n.containerd.log.String(); strings.Contains(log, "closing plugin") {
		t.Errorf("containerd has disconnected the agent: %s", log)
	}
}

// TestAgentKilled has pods that were started before the agent, and while none was running.
func TestAgentKilled(t *testing.T) {
	n := newNode(t)
	host := hostMemTotal(t)
	quiet := limited()
	quiet.namespace = "kube-system"
	excluded := n.start(t, quiet)
	earliest := n.start(t, limited())
	if got := earliest.first(t)[1]; got != host {
		t.Fatalf("MemTotal is %s without an agent, want %s", got, host)
	}
	n.startAgent(t)
	n.waitForMemTotal(t, earliest, limitedTotal)
	served := n.start(t, limited())
	if got := served.first(t)[1]; got != limitedTotal {
		t.Errorf("MemTotal is %s with the agent, want %s", got, limitedTotal)
	}

	n.agent.stop(t, syscall.SIGKILL)
	meanwhile := n.start(t, limited())
	if got := meanwhile.first(t)[1]; got != host {
		t.Errorf("MemTotal is %s after the agent was killed, want %s", got, host)
	}
	if got := n.memTotal(t, served); got != limitedTotal {
		t.Errorf("MemTotal of an older pod is %s, want %s", got, limitedTotal)
	}
	n.crictl(t, "rmp", "-f", served.sandbox)
	n.startAgent(t)
	n.waitForMemTotal(t, meanwhile, limitedTotal)
	if got := n.memTotal(t, excluded); got != host {
		t.Errorf("MemTotal in kube-system is %s, want %s", got, host)
	}
	if got := n.metric(t, "palisade_nri_containers", ""); got != 2 {
		t.Errorf("%v containers, want 2", got)
	}
}

// TestRuntimeRestarts restarts containerd under an agent.
func TestRuntimeRestarts(t *testing.T) {
	n := newNode(t)
	n.startAgent(t)
	before := n.start(t, limited())
	n.containerd.stop(t, syscall.SIGTERM)
	engine.WaitFor(t, "the agent to lose the connection", func() bool {
		return n.metric(t, "palisade_nri_runtime_connected", `socket="`+n.nriSocket+`"`) == 0
	})
	n.startContainerd(t)
	n.waitForConnection(t)
	after := n.start(t, limited())
	for _, p := range []*pod{before, after} {
		if got := p.first(t); !slices.Equal(got, own) {
			t.Errorf("the first process reads %q, want %q", got, own)
		}
		if got := n.memTotal(t, p); got != limitedTotal {
			t.Errorf("MemTotal is %s, want %s", got, limitedTotal)
		}
	}
}

// TestLxcfsKilled kills lxcfs, with its mount or without, and starts another one.
func TestLxcfsKilled(t *testing.T) {
	n := newNode(t)
	n.startAgent(t)
	p := n.start(t, limited())
	p.first(t)
	for _, tt := range []struct {
		name string
		kill func(*ctr.Daemon) error
	}{{"crash", (*ctr.Daemon).Crash}, {"unmount", (*ctr.Daemon).Kill}} {
		t.Run(tt.name, func(t *testing.T) {
			if err := tt.kill(n.lxcfs); err != nil {
				t.Fatal(err)
			}
			n.waitForMemTotal(t, p, hostMemTotal(t))
			if err := n.lxcfs.Unmount(); err != nil {
				t.Fatal(err)
			}
			meanwhile := n.start(t, limited())
			n.startLxcfs(t)
			for _, p := range []*pod{p, meanwhile} {
				n.waitForMemTotal(t, p, limitedTotal)
			}
		})
	}
}

// TestStrict starts pods without lxcfs.
func TestStrict(t *testing.T) {
	n := newNode(t)
	if err := n.lxcfs.Kill(); err != nil {
		t.Fatal(err)
	}
	n.lxcfs = nil
	n.startAgent(t, "--strict")
	p := limited()
	n.create(t, &p)
	r := n.runCrictl(t, "start", p.container)
	want := "palisade-nri: container " + p.container + " must not start without lxcfs: "
	if r.Code == 0 || !strings.Contains(r.Stderr, want) {
		t.Errorf("start: exit code %d, %s, want %q", r.Code, r.Stderr, want)
	}
	lenient := limited()
	lenient.annotations = map[string]string{"palisade.strict": "false"}
	if got, want := n.start(t, lenient).first(t)[1], hostMemTotal(t); got != want {
		t.Errorf("MemTotal is %s, want %s", got, want)
	}
}

// TestWithoutSystemd has a node without systemd: lxcfs ends with the agent, and containers read the
// node's files then.
func TestWithoutSystemd(t *testing.T) {
	engine.OwnLib(t)
	n := newNode(t)
	if err := n.lxcfs.Kill(); err != nil {
		t.Fatal(err)
	}
	n.lxcfs = nil
	startAgent := func() {
		t.Helper()
		n.agent = start(t, filepath.Join(shared.image, "palisade-nri"), "--install", n.path("installed"),
			"--socket", n.nriSocket, "--metrics-socket", n.path("metrics.sock"))
		n.waitForConnection(t)
	}
	p := n.start(t, limited())
	startAgent()
	n.waitForMemTotal(t, p, limitedTotal)
	if log := n.agent.log.String(); !strings.Contains(log, "the host does not run systemd") {
		t.Errorf("no warning: %s", log)
	}
	n.agent.stop(t, syscall.SIGTERM)
	if got, want := n.memTotal(t, p), hostMemTotal(t); got != want {
		t.Errorf("MemTotal is %s without an agent, want %s", got, want)
	}
	startAgent()
	n.waitForMemTotal(t, p, limitedTotal)
	n.agent.stop(t, syscall.SIGKILL)
	startAgent()
	n.waitForMemTotal(t, p, limitedTotal)
	n.agent.stop(t, syscall.SIGTERM)
	r := engine.Run(t, "", filepath.Join(shared.image, "palisade-nri"), "uninstall", "--install",
		n.path("installed"))
	if _, err := os.Stat(n.path("installed")); r.Code != 0 || !os.IsNotExist(err) {
		t.Errorf("uninstall: exit code %d: %s, %v", r.Code, r.Stderr, err)
	}
}
