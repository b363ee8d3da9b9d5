package lxcfs

import (
	"strconv"
	"syscall"
	"time"

	"palisade/internal/inject/mounts"
	"palisade/internal/linux/procfs"
)

// Node ids mean the same to every process that serves the mount, and no state is kept for them: the
// kernel keeps them when the worker is replaced.
//
//	fixed tree             a constant below 1<<nodeFileBits, see fixed.go
//	CPUs and NUMA nodes    sysfsBit | inode number on the host's sysfs
//	containers             containersBit | PID<<38 | START<<6 | id in the fixed tree
//	private tree N         privateBit | N<<6 | id in the fixed tree
//	its CPUs and nodes     privateBit | sysfsBit | (N mod 2^30)<<32 | inode number
//
// A private tree is a copy of the fixed tree and the sysfs tree with inodes of its own, for one
// container: the kernel keeps locks, leases, watches and mapped pages by inode.
const (
	privateBit    = 1 << 63
	sysfsBit      = 1 << 62
	containersBit = 1 << 61 // only without the other two bits
	idContainers  = containersBit

	nodeFileBits   = 6
	nodeStartBits  = 32
	nodePIDBits    = 22 // PID_MAX_LIMIT is 4 Mi (include/linux/threads.h)
	maxPID         = 1<<nodePIDBits - 1
	sysfsInodeBits = 32
	sysfsTreeMask  = 1<<30 - 1
)

// treeID is the number of a private tree with privateBit set, or sharedTree.
type treeID uint64

const sharedTree treeID = 0

// splitNode returns the tree of a node, and the id of the same node in the shared tree.
func splitNode(id uint64) (treeID, uint64) {
	switch {
	case id&privateBit == 0:
		return sharedTree, id
	case id&sysfsBit != 0:
		return treeID(privateBit | id>>sysfsInodeBits&sysfsTreeMask),
			sysfsBit | id&(1<<sysfsInodeBits-1)
	}
	return treeID(privateBit | id&^privateBit>>nodeFileBits), id & (1<<nodeFileBits - 1)
}

// sharedNode returns the id of the same node in the shared tree.
func sharedNode(id uint64) uint64 {
	_, base := splitNode(id)
	return base
}

// node returns the id in the tree of the node with the id base in the shared tree. It fails with
// EOVERFLOW for a file of the sysfs tree whose inode number does not fit into 32 bits.
func (t treeID) node(base uint64) (uint64, error) {
	switch {
	case t == sharedTree:
		return base, nil
	case base&sysfsBit == 0:
		return privateBit | uint64(t)<<nodeFileBits&^uint64(privateBit) | base, nil
	case base&^sysfsBit>>sysfsInodeBits != 0:
		return 0, syscall.EOVERFLOW
	}
	return privateBit | uint64(t)&sysfsTreeMask<<sysfsInodeBits | base, nil
}

// parseTree parses the name of a private tree: its number in lower-case hexadecimal, without
// leading zeros.
func parseTree(name string) (treeID, bool) {
	n, err := strconv.ParseUint(name, 16, mounts.PrivateTreeBits)
	if err != nil || strconv.FormatUint(n, 16) != name {
		return sharedTree, false
	}
	return treeID(privateBit | n), true
}

func isSysfs(id uint64) bool {
	base := sharedNode(id)
	return base == idCPUDir || base == idNodeDir || base&sysfsBit != 0
}

// isContainers reports whether the node is the directory containers or below it.
func isContainers(id uint64) bool {
	return id&(privateBit|sysfsBit|containersBit) == containersBit
}

// containerNode is the content of the id of a node below the directory containers. It identifies a
// process, and not another one that later has the same pid.
type containerNode struct {
	// pid is the process by which the container was looked up.
	pid int
	// start has the lower bits of its start time, in clock ticks since boot.
	start uint32
	// file is the id of the file in the fixed tree, or 0 for the directory of the container.
	file uint64
}

func (n containerNode) id() uint64 {
	return containersBit | uint64(n.pid)<<(nodeStartBits+nodeFileBits) |
		uint64(n.start)<<nodeFileBits | n.file
}

// parseContainerNode is the inverse of id. It returns false for other ids.
func parseContainerNode(id uint64) (containerNode, bool) {
	n := containerNode{
		pid:   int(id >> (nodeStartBits + nodeFileBits) & maxPID),
		start: uint32(id >> nodeFileBits),
		file:  id & (1<<nodeFileBits - 1),
	}
	return n, n.pid != 0 && n.id() == id
}

// parsePID parses the name of a container's directory: a pid as the kernel formats it.
func parsePID(name string) (int, bool) {
	pid, err := strconv.ParseUint(name, 10, nodePIDBits)
	return int(pid), err == nil && name[0] != '0'
}

// startTicks returns a start time since boot as in containerNode.
func startTicks(start time.Duration) uint32 { return uint32(start / procfs.ClockTick) }
