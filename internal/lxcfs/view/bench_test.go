package view_test

import (
	"testing"
	"time"

	"palisade/internal/linux/cgroup"
	"palisade/internal/linux/cpulist"
	"palisade/internal/linux/sys"
	"palisade/internal/lxcfs/view"
)

// largeHost has enough memory and swap for any container of the tests.
var largeHost = sys.Sysinfo{MemTotal: 64 * gib, SwapTotal: 8 * gib, SwapFree: 8 * gib}

// renderFunc is a function of the package with all arguments but the buffer.
type renderFunc struct {
	name   string
	render func(dst []byte) []byte
}

// renderFuncs returns the functions for a container with two CPUs.
func renderFuncs(tb testing.TB) []renderFunc {
	h := loadHost(tb, "6.18-x86_64")
	m := &cgroup.Memory{
		Limit: 256 * mib, Usage: 118 * mib, Stat: v2Stat,
		Swap: cgroup.Swap{Accounted: true, Limit: mib, Usage: kib},
		Huge: []cgroup.HugePages{{PageSize: 2 * mib, Limit: 64 * mib, Usage: 10 * mib}},
	}
	set, c := cpulist.Of(0, 1), new(view.CPUs)
	c.Set(&h.online, &set, cgroup.Quota{})
	big := loadHost(tb, "5.10-x86_64")
	all := new(view.CPUs)
	all.Set(&big.online, &big.online, cgroup.Quota{})
	times, tasks := cpuTimes(2), view.Tasks{Running: 2, Blocked: 1, Total: 17, LastPID: 231}
	disks, io := wholeDisks(h)
	load := view.Load{Avg: [3]uint64{view.LoadOne, 300, 20}, Tasks: tasks}
	o := view.MemOptions{Swap: true, Zswap: true}
	return []renderFunc{
		{"Meminfo", func(dst []byte) []byte { return view.Meminfo(dst, h.meminfo, largeHost, m, o) }},
		{"Swaps", func(dst []byte) []byte { return view.Swaps(dst, h.swaps, largeHost, m, o) }},
		{"Cpuinfo2", func(dst []byte) []byte { return view.Cpuinfo(dst, h.cpuinfo, c) }},
		{"Cpuinfo16", func(dst []byte) []byte { return view.Cpuinfo(dst, big.cpuinfo, all) }},
		{"Stat", func(dst []byte) []byte { return view.Stat(dst, h.stat, times, len(times), tasks, 0) }},
		{"Uptime", func(dst []byte) []byte { return view.Uptime(dst, 3723*time.Second, 7199e9) }},
		{"Loadavg", func(dst []byte) []byte { return view.Loadavg(dst, load) }},
		{"Diskstats", func(dst []byte) []byte { return view.Diskstats(dst, h.diskstats, disks, io) }},
		{"Partitions", func(dst []byte) []byte { return view.Partitions(dst, h.partitions, disks) }},
		{"Slabinfo", func(dst []byte) []byte { return view.Slabinfo(dst, nil) }},
		{"CPUOnline", func(dst []byte) []byte { return view.CPUOnline(dst, c) }},
		{"CPUOffline", func(dst []byte) []byte { return view.CPUOffline(dst, &big.present, c) }},
		{"CPUs", func(dst []byte) []byte { c.Set(&h.online, &set, cgroup.Quota{}); return dst }},
	}
}

func TestRenderDoesNotAllocate(t *testing.T) {
	buf := make([]byte, 0, 64*kib)
	for _, r := range renderFuncs(t) {
		t.Run(r.name, func(t *testing.T) {
			if n := testing.AllocsPerRun(100, func() { r.render(buf) }); n != 0 {
				t.Errorf("got %v allocations, want 0", n)
			}
		})
	}
}

func BenchmarkRender(b *testing.B) {
	buf := make([]byte, 0, 64*kib)
	for _, r := range renderFuncs(b) {
		b.Run(r.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r.render(buf)
			}
		})
	}
}
