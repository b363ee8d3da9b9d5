package lxcfs

import (
	"slices"
	"syscall"

	"palisade/internal/inject/mounts"
	"palisade/internal/inject/probe"
	"palisade/internal/lxcfs/meter"
	"palisade/internal/lxcfs/view"
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
	idPrivate
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
	// hostMode, if it is not 0, is the mode of the host's file where that is not mode: a reader whom it
	// does not let read gets hidden instead of the host's text.
	hostMode uint32
	hidden   []byte
	// psi marks a file that takes pressure triggers.
	psi bool
	// file is what the meter knows it by.
	file meter.File
}

func dir(id, parent uint64, name string) node {
	return node{id: id, parent: parent, name: name, mode: syscall.S_IFDIR | 0o555}
}

// private returns the directory of the private trees. A lookup of it succeeds for every caller: if
// it failed with ENOENT once, the kernel would unmount the mounts on all files below it, in all
// containers (d_invalidate in fs/dcache.c).
func private() node {
	n := dir(idPrivate, idRoot, mounts.PrivateDir)
	n.mode = syscall.S_IFDIR | 0o700
	return n
}

func file(id uint64, counted meter.File, name string, render renderer) node {
	return node{id: id, parent: idProc, name: name, mode: syscall.S_IFREG | 0o444, host: name, render: render, file: counted}
}

// pressure is a file of /proc/pressure, which everybody may write to on a host.
func pressure(id uint64, counted meter.File, resource string) node {
	return node{
		id: id, parent: idPressure, name: resource, mode: syscall.S_IFREG | 0o666, host: "pressure/" + resource,
		render: renderPressure(resource), psi: true, file: counted,
	}
}

// nodes lists the fixed tree.
func nodes() []node {
	slabinfo := file(idSlabinfo, meter.Slabinfo, "slabinfo", renderSlabinfo)
	// A container's own tells nothing of the host, of which only root may know what its kernel allocates.
	slabinfo.hostMode, slabinfo.hidden = syscall.S_IFREG|0o400, view.Slabinfo(nil, nil)
	return []node{
		dir(idRoot, idRoot, ""),
		private(),
		dir(idProc, idRoot, "proc"),
		file(idCpuinfo, meter.Cpuinfo, "cpuinfo", renderCpuinfo),
		file(idMeminfo, meter.Meminfo, "meminfo", renderMeminfo),
		file(idStat, meter.Stat, "stat", renderStat),
		file(idUptime, meter.Uptime, "uptime", renderUptime),
		file(idSwaps, meter.Swaps, "swaps", renderSwaps),
		file(idDiskstats, meter.Diskstats, "diskstats", renderDiskstats),
		file(idPartitions, meter.Partitions, "partitions", renderPartitions),
		file(idLoadavg, meter.Loadavg, "loadavg", renderLoadavg),
		slabinfo,
		dir(idPressure, idProc, "pressure"),
		pressure(idPressureCPU, meter.PressureCPU, "cpu"),
		pressure(idPressureMemory, meter.PressureMemory, "memory"),
		pressure(idPressureIO, meter.PressureIO, "io"),
		dir(idSys, idRoot, "sys"),
		dir(idSysDevices, idSys, "devices"),
		dir(idSysDevicesSystem, idSysDevices, "system"),
		dir(idCPUDir, idSysDevicesSystem, "cpu"),
		{
			id: idStatus, parent: idRoot, name: probe.StatusFile, mode: syscall.S_IFREG | 0o400,
			render: renderNothing, own: (*FS).status, file: meter.Status,
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

// node returns the fixed node with the id, in the shared or a private tree, or nil if there is
// none.
func (t *tree) node(id uint64) *node { return t.byID[sharedNode(id)] }

// child returns the node with the name in the directory parent, or nil if there is none.
func (t *tree) child(parent uint64, name string) *node {
	in, base := splitNode(parent)
	n := t.byName[childKey{base, name}]
	if n != nil && n.id == idPrivate && in != sharedTree {
		return nil
	}
	return n
}

// children returns the nodes in a directory, except for the directory of the private trees.
func (t *tree) children(id uint64) []*node {
	nodes := t.inDir[sharedNode(id)]
	return slices.DeleteFunc(slices.Clone(nodes), func(n *node) bool { return n.id == idPrivate })
}

func (n *node) isDir() bool { return n.mode&syscall.S_IFMT == syscall.S_IFDIR }
