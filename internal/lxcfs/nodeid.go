package lxcfs

import (
	"strconv"
	"syscall"

	"palisade/internal/inject/mounts"
)

// A private tree is a copy of the whole tree with inodes of its own, for one container: the kernel
// keeps locks, leases, watches and mapped pages by inode, which a node id identifies. The number of
// the tree is part of the id of each of its nodes, so that the daemon keeps no state for a tree,
// and every process that serves the mount assigns the same ids.
//
//	shared tree            id of the fixed tree, or cpuDirBit|INODE
//	private tree N         privateBit | N<<6 | id of the fixed tree
//	its CPU directory      privateBit | cpuDirBit | (N mod 2^30)<<32 | INODE
const (
	privateBit   = 1 << 63
	cpuInodeBits = 32
	cpuTreeMask  = 1<<30 - 1
)

// treeID is the number of a private tree with privateBit set, or sharedTree.
type treeID uint64

const sharedTree treeID = 0

// splitNode returns the tree of a node, and the id of the same node in the shared tree.
func splitNode(id uint64) (treeID, uint64) {
	switch {
	case id&privateBit == 0:
		return sharedTree, id
	case id&cpuDirBit != 0:
		return treeID(privateBit | id>>cpuInodeBits&cpuTreeMask), cpuDirBit | id&(1<<cpuInodeBits-1)
	}
	return treeID(privateBit | id&^privateBit>>nodeFileBits), id & (1<<nodeFileBits - 1)
}

// node returns the id in the tree of the node with the id base in the shared tree. It fails with
// EOVERFLOW for a file of the CPU directory whose inode number does not fit into 32 bits.
func (t treeID) node(base uint64) (uint64, error) {
	switch {
	case t == sharedTree:
		return base, nil
	case base&cpuDirBit == 0:
		return privateBit | uint64(t)<<nodeFileBits&^uint64(privateBit) | base, nil
	case base&^cpuDirBit>>cpuInodeBits != 0:
		return 0, syscall.EOVERFLOW
	}
	return privateBit | uint64(t)&cpuTreeMask<<cpuInodeBits | base, nil
}

// sharedNode returns the id of the same node in the shared tree.
func sharedNode(id uint64) uint64 {
	_, base := splitNode(id)
	return base
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
