package lxcfs

import (
	"slices"
	"syscall"

	"palisade/internal/probe"
)

// The ids of the nodes are constants, the same in every process that serves the mount: the kernel keeps them while the
// daemon is replaced. What lies below sys/devices/system/cpu has ids made from the host's inode numbers, see cpudir.go.
const (
	idRoot = iota + 1
	idProc
	idCpuinfo
	idMeminfo
	idStat
	idUptime
	idSwaps
	idDiskstats
	idPartitions
	idLoadavg
	idSlabinfo
	idPressure
	idPressureCPU
	idPressureMemory
	idPressureIO
	idSys
	idSysDevices
	idSysDevicesSystem
	idCPUDir
	idStatus
)

// node is a file or directory of the fixed part of the tree.
type node struct {
	id, parent uint64
	name       string
	mode       uint32
	// host is the host's own file, below /proc, whose text a host's reader gets; "" for directories.
	host string
	// render writes the container's text; nil for directories.
	render renderer
	// own makes the text that a host's reader gets of a file that is not the host's.
	own func(f *FS, dst []byte) ([]byte, error)
	// psi marks a file that takes pressure triggers.
	psi bool
}

func dir(id, parent uint64, name string) node {
	return node{id: id, parent: parent, name: name, mode: syscall.S_IFDIR | 0o555}
}

func file(id, parent uint64, name string, render renderer) node {
	return node{id: id, parent: parent, name: name, mode: syscall.S_IFREG | 0o444, host: name, render: render}
}

// pressure is a file of /proc/pressure, which everybody may write to on a host.
func pressure(id uint64, resource string) node {
	return node{
		id: id, parent: idPressure, name: resource, mode: syscall.S_IFREG | 0o666, host: "pressure/" + resource,
		render: renderPressure(resource), psi: true,
	}
}

// nodes lists the fixed tree.
func nodes() []node {
	slabinfo := file(idSlabinfo, idProc, "slabinfo", renderSlabinfo)
	slabinfo.mode = syscall.S_IFREG | 0o400 // as the host's: it tells of what happens in the kernel
	return []node{
		dir(idRoot, idRoot, ""),
		dir(idProc, idRoot, "proc"),
		file(idCpuinfo, idProc, "cpuinfo", renderCpuinfo),
		file(idMeminfo, idProc, "meminfo", renderMeminfo),
		file(idStat, idProc, "stat", renderStat),
		file(idUptime, idProc, "uptime", renderUptime),
		file(idSwaps, idProc, "swaps", renderSwaps),
		file(idDiskstats, idProc, "diskstats", renderDiskstats),
		file(idPartitions, idProc, "partitions", renderPartitions),
		file(idLoadavg, idProc, "loadavg", renderLoadavg),
		slabinfo,
		dir(idPressure, idProc, "pressure"),
		pressure(idPressureCPU, "cpu"),
		pressure(idPressureMemory, "memory"),
		pressure(idPressureIO, "io"),
		dir(idSys, idRoot, "sys"),
		dir(idSysDevices, idSys, "devices"),
		dir(idSysDevicesSystem, idSysDevices, "system"),
		dir(idCPUDir, idSysDevicesSystem, "cpu"),
		{
			id: idStatus, parent: idRoot, name: probe.StatusFile, mode: syscall.S_IFREG | 0o400,
			render: renderNothing, own: (*FS).status,
		},
	}
}

// tree is the fixed part of the served tree, without what this kernel does not have.
type tree struct {
	byID   map[uint64]*node
	byName map[childKey]*node
	inDir  map[uint64][]*node
}

type childKey struct {
	parent uint64
	name   string
}

// newTree makes the tree of the nodes that exist tells to be there.
func newTree(exists func(*node) bool) *tree {
	t := &tree{byID: map[uint64]*node{}, byName: map[childKey]*node{}, inDir: map[uint64][]*node{}}
	for _, n := range slices.Clone(nodes()) {
		if !exists(&n) {
			continue
		}
		t.byID[n.id] = &n
		if n.id != idRoot {
			t.byName[childKey{n.parent, n.name}] = &n
			t.inDir[n.parent] = append(t.inDir[n.parent], &n)
		}
	}
	return t
}

func (n *node) isDir() bool { return n.mode&syscall.S_IFMT == syscall.S_IFDIR }
