//go:build integration

package nri

import (
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"palisade/test/bench/stat"
	"palisade/test/engine"
)

// reportMedian reports the median of durations in milliseconds.
func reportMedian(b *testing.B, unit string, took []time.Duration) {
	b.ReportMetric(stat.Median(took).Seconds()*1000, unit)
}

// BenchmarkStart compares the starts of containers with the agent and without it: those of two
// containerds in turn, of which the one and then the other is connected to the agent.
func BenchmarkStart(b *testing.B) {
	const starts = 10
	nodes := []*node{newNode(b), prepareNode(b)}
	nodes[1].lxcfsDir = nodes[0].lxcfsDir
	var with, without []time.Duration
	for b.Loop() {
		for _, connected := range nodes {
			connected.startAgent(b)
			for range starts {
				for _, n := range nodes {
					took := n.timeStart(b)
					if n == connected {
						with = append(with, took)
					} else {
						without = append(without, took)
					}
				}
			}
			got := connected.metric(b, "palisade_nri_starts_total", `result="served"`)
			if got != starts {
				b.Errorf("%v containers are served, want %d", got, starts)
			}
			connected.agent.stop(b, syscall.SIGTERM)
		}
	}
	b.ReportMetric(0, "ns/op") // of all steps
	reportMedian(b, "ms/without", without)
	reportMedian(b, "ms/with", with)
	b.ReportMetric((stat.Median(with)-stat.Median(without)).Seconds()*1000, "ms/added")
}

// timeStart returns the time that the start of a container takes.
func (n *node) timeStart(b *testing.B) time.Duration {
	b.Helper()
	p := limited()
	n.create(b, &p)
	began := time.Now()
	n.crictl(b, "start", p.container)
	took := time.Since(began)
	n.crictl(b, "rmp", "-f", p.sandbox)
	return took
}

// BenchmarkSynchronize starts the agent on a node with 200 pods, whose files are those of an lxcfs
// that has ended.
func BenchmarkSynchronize(b *testing.B) {
	const pods = 200
	n := newNode(b)
	for range pods {
		n.start(b, limited())
	}
	var calls, files []time.Duration
	for b.Loop() {
		began := time.Now()
		n.startAgent(b)
		engine.WaitFor(b, "the files in all containers", func() bool {
			return n.metric(b, "palisade_nri_remounts_total", `command="remount",outcome="done"`) == pods
		})
		files = append(files, time.Since(began))
		calls = append(calls, n.synchronizeTime(b))
		n.agent.stop(b, syscall.SIGTERM)
		if err := n.lxcfs.Kill(); err != nil {
			b.Fatal(err)
		}
		n.startLxcfs(b)
	}
	b.ReportMetric(0, "ns/op")
	reportMedian(b, "ms/call", calls)
	reportMedian(b, "ms/all-files", files)
}

// synchronized matches the lines in the log of containerd before and after the call of Synchronize.
var synchronized = regexp.MustCompile(
	`time="([^"]+)" level=info msg="(?:Synchronizing NRI|plugin .*palisade-nri.* synchronized)`)

// synchronizeTime returns the time that the last call of Synchronize took, as containerd logs it.
func (n *node) synchronizeTime(b *testing.B) time.Duration {
	b.Helper()
	var times []time.Time
	for _, m := range synchronized.FindAllStringSubmatch(n.containerd.log.String(), -1) {
		at, err := time.Parse(time.RFC3339Nano, m[1])
		if err != nil {
			b.Fatal(err)
		}
		times = append(times, at)
	}
	if len(times) < 2 {
		b.Fatalf("containerd logs no synchronization: %s", strings.TrimSpace(n.containerd.log.String()))
	}
	return times[len(times)-1].Sub(times[len(times)-2])
}
