package view

import (
	"bytes"
	"math/bits"
	"slices"

	"palisade/internal/linux/cgroup"
	"palisade/internal/linux/cpulist"
	"palisade/internal/linux/ktext"
	"palisade/internal/linux/procfs"
)

// Nodes divides the memory of a container over the NUMA nodes that it sees. It must be initialized
// by Set.
//
// The kernel limits the memory of a cgroup as a whole, so that there is no limit on one node. Each
// value of the container's /proc/meminfo is divided in proportion to what the cgroup has on each
// node (memory.numa_stat), and MemTotal in proportion to the memory of the nodes. The values of all
// nodes add up to that of /proc/meminfo.
type Nodes struct{ nodes []nodeShare }

type nodeShare struct {
	number int
	// has is what the cgroup has on the node. Its MemTotal is the memory of the node, and its values
	// of huge pages are the host's.
	has procfs.MemValues
	// used is the memory that the cgroup has on the node, in kB. total is the node's part of MemTotal,
	// and room what used leaves of it.
	used, total, room uint64
}

// Set sets the nodes that the container sees, and their memory by number. There must be an entry in
// stats for each node in the set.
func (n *Nodes) Set(host *procfs.Nodes, set *cpulist.Set, stats []cgroup.MemoryStat) {
	n.nodes = n.nodes[:0]
	for i := range host.List {
		h := &host.List[i]
		if !set.Has(h.Number) {
			continue
		}
		s := &stats[h.Number]
		share := nodeShare{number: h.Number, has: h.Meminfo.Values}
		setStat(&share.has, s)
		used := ktext.Add(ktext.Add(s.Anon, s.File), ktext.Add(s.KernelStack, s.PageTables))
		share.used = kB(ktext.Add(used, ktext.Add(s.Slab, s.SecPageTables)))
		n.nodes = append(n.nodes, share)
	}
}

// Values returns the part of the container's values v that is on the node with the number: nothing
// for a node that the container does not see.
func (n *Nodes) Values(number int, v *procfs.MemValues) (part procfs.MemValues) {
	i := slices.IndexFunc(n.nodes, func(s nodeShare) bool { return s.number == number })
	if i < 0 {
		return part
	}
	for f := procfs.MemOther + 1; f < procfs.MemFields; f++ {
		part[f] = n.part(v[f], i, func(s *nodeShare) uint64 { return s.has[f] })
	}
	part[procfs.MemTotal], part[procfs.MemFree] = n.totalAndFree(v, i)
	part[procfs.MemUsed] = part[procfs.MemTotal] - part[procfs.MemFree]
	part[procfs.MemActive] = part[procfs.MemActiveAnon] + part[procfs.MemActiveFile]
	part[procfs.MemInactive] = part[procfs.MemInactiveAnon] + part[procfs.MemInactiveFile]
	part[procfs.MemSlab] = part[procfs.MemSReclaimable] + part[procfs.MemSUnreclaim]
	return part
}

// totalAndFree returns the i-th parts of MemTotal and MemFree. The first does not depend on what the
// cgroup uses. The second is in proportion to the room that the used memory leaves on each node: the
// kernel counts some memory for no node, and allows more on a node than its part.
func (n *Nodes) totalAndFree(v *procfs.MemValues, i int) (total, free uint64) {
	var allRoom uint64
	for k := range n.nodes {
		s := &n.nodes[k]
		s.total = n.part(v[procfs.MemTotal], k, (*nodeShare).memory)
		s.room = ktext.Sub(s.total, s.used)
		allRoom = ktext.Add(allRoom, s.room)
	}
	s, free := &n.nodes[i], v[procfs.MemFree]
	if free <= allRoom {
		return s.total, n.part(free, i, func(s *nodeShare) uint64 { return s.room })
	}
	// The counters of the nodes are ahead of the usage.
	taken := func(s *nodeShare) uint64 { return s.total - s.room }
	return s.total, s.room + n.part(free-allRoom, i, taken)
}

func (s *nodeShare) memory() uint64 { return s.has[procfs.MemTotal] }

func (s *nodeShare) allUsed() uint64 { return s.used }

// part returns the i-th part of a value, which is divided in proportion to the weights of the nodes.
// If they are all 0, it is divided as the memory that the cgroup uses, or else that of the nodes.
func (n *Nodes) part(value uint64, i int, weight func(*nodeShare) uint64) uint64 {
	weights := [...]func(*nodeShare) uint64{weight, (*nodeShare).allUsed, (*nodeShare).memory}
	for _, w := range weights {
		var before, sum uint64
		for k := range n.nodes {
			if k == i {
				before = sum
			}
			sum = ktext.Add(sum, w(&n.nodes[k]))
		}
		if sum > 0 {
			upTo := ktext.Add(before, w(&n.nodes[i]))
			return mulDiv(value, upTo, sum) - mulDiv(value, before, sum)
		}
	}
	return 0
}

// mulDiv returns a*b/c for b <= c.
func mulDiv(a, b, c uint64) uint64 {
	high, low := bits.Mul64(a, b)
	if high >= c { // only if b is c
		return a
	}
	quotient, _ := bits.Div64(high, low, c)
	return quotient
}

// NodesWithCPUs appends /sys/devices/system/node/has_cpu: the nodes in the set that have a CPU of the
// container.
func NodesWithCPUs(dst []byte, host *procfs.Nodes, set *cpulist.Set, c *CPUs) []byte {
	var nodes cpulist.Set
	for i := range host.List {
		node := &host.List[i]
		has := func(cpu int) bool { return node.CPUs.Has(cpu) }
		if set.Has(node.Number) && slices.ContainsFunc(c.host, has) {
			nodes.Add(node.Number)
		}
	}
	return append(nodes.Append(dst), '\n')
}

// NodeDistance appends node<N>/distance: of the host's distances to its online nodes those to the
// nodes in the set.
func NodeDistance(dst []byte, online, set *cpulist.Set, host []byte) []byte {
	start := len(dst)
	for node := online.Next(0); node >= 0; node = online.Next(node + 1) {
		var distance []byte
		if distance, host = ktext.Field(host); !set.Has(node) {
			continue
		}
		if len(dst) > start {
			dst = append(dst, ' ')
		}
		dst = append(dst, distance...)
	}
	return append(dst, '\n')
}

// NodeNumastat appends node<N>/numastat, with the host's keys. No cgroup counts these events.
func NodeNumastat(dst, host []byte) []byte {
	for line := range bytes.Lines(host) {
		key, _ := ktext.Field(line)
		dst = append(append(dst, key...), " 0\n"...)
	}
	return dst
}

// NodeList appends a list of nodes such as /sys/devices/system/node/online: those of the host's list
// that are in the set. A malformed list is empty.
func NodeList(dst, host []byte, set *cpulist.Set) []byte {
	var nodes cpulist.Set
	if nodes.Parse(host) == nil {
		nodes.Intersect(set)
		dst = nodes.Append(dst)
	}
	return append(dst, '\n')
}
