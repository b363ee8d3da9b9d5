package lxcfs

import (
	"strconv"
	"time"

	"palisade/internal/linux/procfs"
)

// containersBit marks the node ids of the folder with the containers and of what lies below it, see containerNode. Ids with
// Ids with privateBit or cpuDirBit may also have this bit set; they are not ids of containers.
const (
	containersBit = 1 << 61
	idContainers  = containersBit
)

// isContainers tells whether the node is the folder with the containers, or lies below it.
func isContainers(id uint64) bool {
	return id&(privateBit|cpuDirBit|containersBit) == containersBit
}

// containerNode is what the id of a node below that folder says, to every process alike: nothing is to be remembered. It
// names a process and not just a pid: one who is given the same pid later does not get into its folder.
type containerNode struct {
	// pid is the process by which the container was asked for, from 1 on.
	pid int
	// start is its start in clock ticks since boot, the lower bits of it.
	start uint32
	// file is the id of the file in proc, 0 for the folder of the container.
	file uint64
}

// The parts of an id. There is no pid from 4 Mi on (PID_MAX_LIMIT in include/linux/threads.h).
const (
	nodeFileBits  = 6
	nodeStartBits = 32
	nodePIDBits   = 22
	maxPID        = 1<<nodePIDBits - 1
)

func (n containerNode) id() uint64 {
	return containersBit | uint64(n.pid)<<(nodeStartBits+nodeFileBits) | uint64(n.start)<<nodeFileBits | n.file
}

// parseContainerNode tells false where the id is none of a container.
func parseContainerNode(id uint64) (containerNode, bool) {
	n := containerNode{
		pid:   int(id >> (nodeStartBits + nodeFileBits) & maxPID),
		start: uint32(id >> nodeFileBits),
		file:  id & (1<<nodeFileBits - 1),
	}
	return n, n.pid != 0 && n.id() == id
}

// parsePID reads the name of a container's folder: a pid as the kernel writes it.
func parsePID(name string) (int, bool) {
	if name == "" || name[0] < '1' || name[0] > '9' { // a sign, or a zero before it
		return 0, false
	}
	pid, err := strconv.ParseUint(name, 10, nodePIDBits)
	return int(pid), err == nil
}

// startTicks is a start as in containerNode.
func startTicks(start time.Duration) uint32 { return uint32(start / procfs.ClockTick) }
