package view_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/quick"

	"palisade/internal/cli/golden"
	"palisade/internal/linux/cgroup"
	"palisade/internal/linux/cpulist"
	"palisade/internal/linux/procfs"
	"palisade/internal/linux/sys"
	"palisade/internal/lxcfs/view"
)

var pages = view.PageSizes{Page: 4 * kib, Huge: 2 * mib}

// numaHost holds the files of a host with NUMA nodes.
type numaHost struct {
	meminfo *procfs.Meminfo
	vmstat  *procfs.Vmstat
	nodes   *procfs.Nodes
	total   sys.Sysinfo
	online  cpulist.Set
}

func loadNUMAHost(tb testing.TB, host string) *numaHost {
	tb.Helper()
	dir := filepath.Join("../../linux/procfs/testdata", host)
	fs, err := procfs.New(filepath.Join(dir, "proc"), filepath.Join(dir, "sys"))
	if err != nil {
		tb.Fatal(err)
	}
	defer fs.Close()
	h := &numaHost{meminfo: parsed(tb, host, "proc/meminfo", procfs.ParseMeminfo),
		vmstat: parsed(tb, host, "proc/vmstat", procfs.ParseVmstat)}
	if h.nodes, err = fs.Nodes(); err != nil {
		tb.Fatal(err)
	}
	h.total.MemTotal = h.meminfo.Values[procfs.MemTotal] * kib
	for _, n := range h.nodes.List {
		for cpu := n.CPUs.Next(0); cpu >= 0; cpu = n.CPUs.Next(cpu + 1) {
			h.online.Add(cpu)
		}
	}
	return h
}

// nodeStats returns memory on two nodes: a quarter on the first, without what is not counted there.
func nodeStats(m *cgroup.MemoryStat) []cgroup.MemoryStat {
	return []cgroup.MemoryStat{
		{
			Anon: m.Anon / 4, File: m.File / 4, Shmem: m.Shmem, ActiveAnon: m.ActiveAnon / 4,
			InactiveAnon: m.InactiveAnon / 4, ActiveFile: m.ActiveFile / 4,
			InactiveFile: m.InactiveFile / 4, KernelStack: m.KernelStack / 4,
			SlabReclaimable: m.SlabReclaimable / 4, Slab: m.Slab / 4,
		},
		{
			Anon: m.Anon * 3 / 4, File: m.File * 3 / 4, ActiveAnon: m.ActiveAnon * 3 / 4,
			InactiveAnon: m.InactiveAnon * 3 / 4, ActiveFile: m.ActiveFile * 3 / 4,
			InactiveFile: m.InactiveFile * 3 / 4, KernelStack: m.KernelStack * 3 / 4,
			SlabReclaimable: m.SlabReclaimable * 3 / 4, Slab: m.Slab * 3 / 4,
		},
	}
}

// TestGoldenNodes has the files of nodes, and vmstat.
func TestGoldenNodes(t *testing.T) {
	const host = "6.1-x86_64-numa"
	h := loadNUMAHost(t, host)
	for _, s := range containers() {
		for _, nodes := range []string{"0-1", "1"} {
			t.Run(s.name+"/"+nodes, func(t *testing.T) {
				set, allowed := cpus(t, nodes), cpus(t, s.cpuset)
				var c view.CPUs
				c.Set(&h.online, &allowed, s.quota)
				events := cgroup.Events{}
				for e := range events {
					events[e] = uint64(1000 + e)
				}
				total := h.total
				total.MemTotal = min(total.MemTotal, h.nodes.MemTotal(&set)*kib)
				values := view.MemValues(h.meminfo, total, &s.memory, view.MemOptions{})
				var dst []byte
				file := func(name string, text []byte) {
					dst = append(fmt.Appendf(dst, "-- %s --\n", name), text...)
				}
				file("proc/meminfo", view.Meminfo(nil, h.meminfo, &values, view.MemOptions{}))
				file("proc/vmstat", view.Vmstat(nil, h.vmstat, &values, &events, pages))
				const dir = "sys/devices/system/node/"
				for _, name := range []string{"online", "has_memory"} {
					file(dir+name, view.NodeList(nil, hostFile(t, host, dir+name), &set))
				}
				file(dir+"has_cpu", view.NodesWithCPUs(nil, h.nodes, &set, &c))
				var shares view.Nodes
				shares.Set(h.nodes, &set, nodeStats(&s.memory.Stat))
				for _, n := range h.nodes.List {
					if !set.Has(n.Number) {
						continue
					}
					sub := fmt.Sprintf("%snode%d/", dir, n.Number)
					part := shares.Values(n.Number, &values)
					file(sub+"meminfo", view.Meminfo(nil, n.Meminfo, &part, view.MemOptions{}))
					file(sub+"vmstat", view.Vmstat(nil, h.nodes.Vmstat, &part, &cgroup.Events{}, pages))
					file(sub+"numastat", view.NodeNumastat(nil, hostFile(t, host, sub+"numastat")))
					file(sub+"distance", view.NodeDistance(nil, &h.nodes.Online, &set, hostFile(t, host, sub+"distance")))
					list, err := view.CPUList(nil, &c, hostFile(t, host, sub+"cpulist"))
					if err != nil {
						t.Error(err)
					}
					mask, err := view.CPUMap(nil, &c, hostFile(t, host, sub+"cpumap"))
					if err != nil {
						t.Error(err)
					}
					file(sub+"cpulist", list)
					file(sub+"cpumap", mask)
				}
				golden.Check(t, filepath.Join("testdata", host, s.name+"-nodes-"+nodes), string(dst))
			})
		}
	}
}

// TestRandomNodes checks that the values of all nodes add up to those of meminfo, whatever the
// cgroup has on them, and that one node has exactly those.
func TestRandomNodes(t *testing.T) {
	h := loadNUMAHost(t, "6.1-x86_64-numa")
	inNodes := make(map[procfs.MemField]bool)
	for _, l := range h.nodes.List[0].Meminfo.Lines {
		inNodes[l.Field] = l.Field != procfs.MemOther
	}
	check := func(m cgroup.Memory, first, second cgroup.MemoryStat, small uint8) bool {
		m.Usage >>= small % 64
		m.Limit >>= small % 60
		first.Anon, second.File = first.Anon>>(small%60), second.File>>(small%50)
		v := view.MemValues(h.meminfo, h.total, &m, view.MemOptions{})
		for _, list := range []string{"0-1", "0", "1"} {
			var shares view.Nodes
			set := cpus(t, list)
			shares.Set(h.nodes, &set, []cgroup.MemoryStat{first, second})
			var sum procfs.MemValues
			for node := set.Next(0); node >= 0; node = set.Next(node + 1) {
				part := shares.Values(node, &v)
				if part[procfs.MemFree] > part[procfs.MemTotal] {
					return false
				}
				for f := range part {
					sum[f] += part[f]
				}
			}
			for f := range inNodes {
				// Sums of two lines overflow for random values.
				isSum := slices.Contains([]procfs.MemField{procfs.MemActive, procfs.MemInactive, procfs.MemSlab}, f)
				if !isSum && sum[f] != v[f] {
					t.Logf("nodes %s: field %d: %d, want %d", list, f, sum[f], v[f])
					return false
				}
			}
		}
		return true
	}
	if err := quick.Check(check, random); err != nil {
		t.Error(err)
	}
}

// TestNodeShares checks how memory is divided over two nodes with 1030488 and 997948 kB.
func TestNodeShares(t *testing.T) {
	h := loadNUMAHost(t, "6.1-x86_64-numa")
	both := cpulist.Of(0, 1)
	for _, tt := range []struct {
		name          string
		limit, usage  uint64
		first, second uint64 // anonymous memory on the nodes
		total, free   [2]uint64
		anon          [2]uint64
	}{
		{"nothing is used", gib, 0, 0, 0, [2]uint64{532698, 515878}, [2]uint64{532698, 515878}, [2]uint64{0, 0}},
		{"all on the first", gib, 100 * mib, 100 * mib, 0,
			[2]uint64{532698, 515878}, [2]uint64{430298, 515878}, [2]uint64{102400, 0}},
		{"more than its part", gib, 800 * mib, 800 * mib, 0,
			[2]uint64{532698, 515878}, [2]uint64{0, 229376}, [2]uint64{819200, 0}},
		{"not counted for a node", gib, 100 * mib, 0, 0,
			[2]uint64{532698, 515878}, [2]uint64{480676, 465500}, [2]uint64{0, 0}},
	} {
		m := cgroup.Memory{Limit: tt.limit, Usage: tt.usage, Stat: cgroup.MemoryStat{Anon: tt.first + tt.second}}
		v := view.MemValues(h.meminfo, h.total, &m, view.MemOptions{})
		var shares view.Nodes
		shares.Set(h.nodes, &both, []cgroup.MemoryStat{{Anon: tt.first}, {Anon: tt.second}})
		for node := range 2 {
			part := shares.Values(node, &v)
			for field, want := range map[procfs.MemField]uint64{
				procfs.MemTotal: tt.total[node], procfs.MemFree: tt.free[node],
				procfs.MemAnonPages: tt.anon[node], procfs.MemUsed: tt.total[node] - tt.free[node],
			} {
				if part[field] != want {
					t.Errorf("%s: node %d: field %d is %d kB, want %d", tt.name, node, field, part[field], want)
				}
			}
		}
		if part := shares.Values(2, &v); part != (procfs.MemValues{}) {
			t.Errorf("%s: a node that is not shown has %v", tt.name, part)
		}
	}
}

func TestCPUSets(t *testing.T) {
	online, allowed := cpulist.Of(0, 1, 2, 3, 40, 41), cpulist.Of(2, 3, 40)
	var c view.CPUs
	c.Set(&online, &allowed, cgroup.Quota{})
	for host, want := range map[string]string{
		"2-3\n": "0-1\n", "40-41\n": "2\n", "0-1\n": "\n", "\n": "\n", "0-63\n": "0-2\n",
	} {
		if got, err := view.CPUList(nil, &c, []byte(host)); string(got) != want || err != nil {
			t.Errorf("list %q becomes %q, %v, want %q", host, got, err, want)
		}
	}
	for host, want := range map[string]string{
		"00,0000000c\n": "00,00000003\n", "0300,00000000\n": "0000,00000004\n", "f\n": "3\n", "\n": "\n",
	} {
		if got, err := view.CPUMap(nil, &c, []byte(host)); string(got) != want || err != nil {
			t.Errorf("mask %q becomes %q, %v, want %q", host, got, err, want)
		}
	}
	if _, err := view.CPUList(nil, &c, []byte("x\n")); err == nil {
		t.Error("a malformed list is accepted")
	}
	if _, err := view.CPUMap(nil, &c, []byte("x\n")); err == nil {
		t.Error("a malformed mask is accepted")
	}
}

func TestNodeDistance(t *testing.T) {
	online := cpulist.Of(0, 2, 3)
	for _, tt := range []struct {
		set        cpulist.Set
		host, want string
	}{
		{cpulist.Of(0, 2, 3), "10 21 31\n", "10 21 31\n"},
		{cpulist.Of(2), "10 21 31\n", "21\n"},
		{cpulist.Of(0, 3), "10 21 31\n", "10 31\n"},
		{cpulist.Of(1), "10 21 31\n", "\n"},
	} {
		if got := string(view.NodeDistance(nil, &online, &tt.set, []byte(tt.host))); got != tt.want {
			t.Errorf("nodes %s: %q, want %q", tt.set, got, tt.want)
		}
	}
}

// TestVmstatUnits checks values in each unit, and those that are 0.
func TestVmstatUnits(t *testing.T) {
	h := loadNUMAHost(t, "6.18-x86_64")
	m := cgroup.Memory{Limit: gib, Usage: 100 * mib, Stat: v2Stat}
	v := view.MemValues(h.meminfo, h.total, &m, view.MemOptions{})
	var events cgroup.Events
	events[cgroup.PageIn], events[cgroup.OOMKill] = 7, 2
	for huge, want := range map[uint64]string{2 * mib: "nr_file_hugepages 1\n", 0: "nr_file_hugepages 0\n"} {
		text := string(view.Vmstat(nil, h.vmstat, &v, &events, view.PageSizes{Page: 4 * kib, Huge: huge}))
		for _, want := range []string{
			"nr_free_pages 236544\n", "nr_kernel_stack 320\n", "nr_zone_write_pending 37\n", "pgpgin 7\n",
			"oom_kill 2\n", "pgfree 0\n", "numa_hit 0\n", "nr_mlock 0\n", want,
		} {
			if !strings.Contains(text, want) {
				t.Errorf("no %q in %q", want, text)
			}
		}
		if got, want := strings.Count(text, "\n"), len(h.vmstat.Lines); got != want {
			t.Errorf("%d lines, want %d", got, want)
		}
	}
}
