//go:build integration

package nri

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"palisade/test/ctr"
)

// TestAgentKilledAgain kills the agent again and again while pods start: each pod starts, and has
// its own numbers in the end.
func TestAgentKilledAgain(t *testing.T) {
	n := newNode(t)
	pods := make([]*pod, ctr.Repeat(50, 200))
	done := make(chan struct{})
	go func() {
		defer close(done)
		t.Run("pods", func(t *testing.T) {
			for i := range pods {
				t.Run(fmt.Sprint(i), func(t *testing.T) {
					t.Parallel()
					p := limited()
					p.memory += i
					pods[i] = n.start(t, p)
				})
			}
		})
	}()
	kills := 0
	for ; !ctr.IsClosed(done); kills++ {
		n.startAgent(t)
		time.Sleep(time.Duration(kills%10) * 20 * time.Millisecond)
		n.agent.stop(t, syscall.SIGKILL)
	}
	if t.Failed() {
		return
	}
	n.startAgent(t)
	host, missed := hostMemTotal(t), 0
	for i, p := range pods {
		want := fmt.Sprintf("%d kB", (96+i)<<10)
		n.waitForMemTotal(t, p, want)
		switch got := p.first(t)[1]; got {
		case host:
			missed++
		case want:
		default:
			t.Errorf("the first process reads MemTotal %s, want %s or the host's", got, want)
		}
	}
	t.Logf("%d kills; %d of %d pods started while no agent was connected", kills, missed, len(pods))
	if got := n.metric(t, "palisade_nri_containers", ""); got != float64(len(pods)) {
		t.Errorf("%v containers, want %d", got, len(pods))
	}
}
