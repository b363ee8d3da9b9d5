package procfs

import (
	"errors"
	"fmt"

	"palisade/internal/linux/cpulist"
)

// NodeDir is the directory with the NUMA nodes of the machine, relative to the root of sysfs. Kernels
// without NUMA have none.
const NodeDir = "devices/system/node"

// Nodes holds the online NUMA nodes of the machine.
type Nodes struct {
	Online cpulist.Set
	// List is sorted by number.
	List []Node
	// Vmstat is the vmstat file of the first node. All have the same keys.
	Vmstat *Vmstat
}

// Node is a NUMA node.
type Node struct {
	Number  int
	CPUs    cpulist.Set
	Meminfo *Meminfo
}

// Find returns the node with the number, or nil.
func (n *Nodes) Find(number int) *Node {
	for i := range n.List {
		if n.List[i].Number == number {
			return &n.List[i]
		}
	}
	return nil
}

// MemTotal returns the memory of the nodes in the set, in kB.
func (n *Nodes) MemTotal(set *cpulist.Set) (kB uint64) {
	for i := range n.List {
		if set.Has(n.List[i].Number) {
			kB += n.List[i].Meminfo.Values[MemTotal]
		}
	}
	return kB
}

func (fs *FS) loadNodes() (*Nodes, error) {
	online, err := loadRecord(&fs.onlineNodesFile, parseCPUs)
	if err != nil {
		return nil, err
	}
	n := &Nodes{Online: *online}
	for number := online.Next(0); number >= 0; number = online.Next(number + 1) {
		dir := fmt.Sprintf("%s/node%d/", NodeDir, number)
		read := func(file string) func() ([]byte, error) {
			return func() ([]byte, error) { return fs.sys.ReadFileAt(dir+file, nil) }
		}
		node := Node{Number: number}
		text, err := read("cpulist")()
		if err == nil {
			err = node.CPUs.Parse(text) // empty for memory without CPUs
		}
		if err == nil {
			node.Meminfo, err = load(dir+"meminfo", read("meminfo"), ParseNodeMeminfo)
		}
		if err == nil && n.Vmstat == nil {
			n.Vmstat, err = load(dir+"vmstat", read("vmstat"), ParseVmstat)
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("read node %d", number), err)
		}
		n.List = append(n.List, node)
	}
	return n, nil
}
