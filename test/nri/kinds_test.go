//go:build integration

package nri

import (
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"palisade/test/engine"
)

// TestUserNamespace starts a pod with a user namespace, and has the agent find it again.
func TestUserNamespace(t *testing.T) {
	n := newNode(t)
	n.startAgent(t)
	p := limited()
	p.hasUserNS = true
	started := n.start(t, p)
	if got := started.first(t); !slices.Equal(got, own) {
		t.Errorf("the first process reads %q, want %q", got, own)
	}
	ids := n.crictl(t, "exec", "-s", started.container, "cat", "/proc/self/uid_map")
	if got := strings.Fields(ids); !slices.Equal(got, []string{"0", "200000", "65536"}) {
		t.Errorf("the ids of the pod are %q", ids)
	}
	n.agent.stop(t, syscall.SIGTERM)
	if err := n.lxcfs.Kill(); err != nil {
		t.Fatal(err)
	}
	meanwhile := n.start(t, p)
	if got, want := meanwhile.first(t)[1], hostMemTotal(t); got != want {
		t.Errorf("MemTotal is %s without an agent, want %s", got, want)
	}
	n.startLxcfs(t)
	n.startAgent(t)
	for _, p := range []*pod{started, meanwhile} {
		n.waitForMemTotal(t, p, limitedTotal)
	}
}

// TestDistroless starts pods of an image that has one program, without a shell, libraries and /etc.
func TestDistroless(t *testing.T) {
	n := newNode(t)
	p := limited()
	p.image, p.command = pauseImage, []string{"/load", "sleepers", "1"}
	earliest := n.start(t, p)
	n.startAgent(t)
	engine.WaitFor(t, "the files in the earlier pod", func() bool {
		out := n.crictl(t, "exec", "-s", earliest.container, "/load", "print", "/proc/meminfo")
		return strings.Contains(out, limitedTotal)
	})
	p.command = []string{"/load", "print", "/proc/meminfo", "/proc/cpuinfo"}
	first := n.start(t, p)
	engine.WaitFor(t, "the output of the first process", func() bool {
		text, err := os.ReadFile(first.log)
		return err == nil && strings.Contains(string(text), "=== /proc/cpuinfo")
	})
	text, err := os.ReadFile(first.log)
	if err != nil || !strings.Contains(string(text), limitedTotal) {
		t.Errorf("the first process reads %s, %v, want MemTotal %s", text, err, limitedTotal)
	}
}
