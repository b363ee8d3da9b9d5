package lxcfs

import (
	"strconv"
	"strings"

	"palisade/internal/linux/cpulist"
	"palisade/internal/lxcfs/meter"
	"palisade/internal/lxcfs/view"
)

// visible holds the CPUs and NUMA nodes that a container sees.
type visible struct {
	cpus  *view.CPUs
	nodes *cpulist.Set
}

// visible returns what the reader's container sees, or nil if the reader gets the host's view. It is
// valid until putReader.
func (r *reader) visible() *visible {
	r.file = meter.CPUOther
	read := func(r *reader, dst []byte) ([]byte, error) {
		if err := r.readCPUs(); err != nil {
			return dst, err
		}
		return dst, r.readNodes()
	}
	if _, ok := r.renderFor("cpu and node", read, nil); ok {
		return &visible{&r.cpus, &r.nodes}
	}
	return nil
}

// numbered returns the number in a name such as "cpu12": 12 for the prefix "cpu".
func numbered(name, prefix string) (int, bool) {
	digits, ok := strings.CutPrefix(name, prefix)
	n, err := strconv.Atoi(digits)
	return n, ok && err == nil && n >= 0 && strconv.Itoa(n) == digits
}

// cpuNumber returns the number of the CPU that dir/name is the directory of, or a link to.
func cpuNumber(dir, name string) (int, bool) {
	if _, inNode := nodeNumber(dir); dir != "cpu" && !inNode {
		return 0, false
	}
	return numbered(name, "cpu")
}

// nodeNumber returns the number of the node whose directory p is.
func nodeNumber(p string) (int, bool) {
	name, ok := strings.CutPrefix(p, "node/")
	if !ok {
		return 0, false
	}
	return numbered(name, "node")
}

func cpuName(cpu int) string { return "cpu" + strconv.Itoa(cpu) }

// isServed reports whether the host's dir/name is served. Blocks of memory are not: they would show
// how much memory the host has on a node.
func isServed(dir, name string) bool {
	_, isBlock := numbered(name, "memory")
	return name != throttleDir && !(isBlock && strings.HasPrefix(dir, "node/"))
}

// differsByReader reports whether dir/name depends on the reader, so that the kernel must not cache
// it: CPUs, and nodes, to which other directories have links.
func differsByReader(dir, name string) bool {
	_, isCPU := cpuNumber(dir, name)
	_, isNode := numbered(name, "node")
	return isCPU || isNode
}

// toHost translates a name in dir, as the container sees it, to the host's. It returns "" if the
// container has no such file. For a reader of the host v is nil.
func (v *visible) toHost(dir, name string) string {
	cpu, isCPU := cpuNumber(dir, name)
	switch {
	case v == nil || !isCPU:
		return v.toReader(dir, name) // nodes have the host's numbers
	case cpu < v.cpus.Len():
		return cpuName(v.cpus.Host(cpu))
	}
	return ""
}

// toReader is the inverse of toHost.
func (v *visible) toReader(dir, name string) string {
	if v == nil || !differsByReader(dir, name) {
		return name
	}
	if host, isCPU := cpuNumber(dir, name); isCPU {
		if cpu, ok := v.cpus.Index(host); ok {
			return cpuName(cpu)
		}
	} else if node, _ := numbered(name, "node"); v.nodes.Has(node) {
		return name
	}
	return ""
}
