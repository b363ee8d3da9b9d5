package lxcfs

import (
	"errors"
	"path"
	"slices"
	"strings"

	"palisade/internal/linux/cgroup"
	"palisade/internal/linux/procfs"
	"palisade/internal/lxcfs/view"
)

// sysfsRenderer returns the renderFunc of a file that differs from the host's, or nil. It sets
// r.path and r.number for that.
func (r *reader) sysfsRenderer(p string) renderFunc {
	r.path = p
	switch p {
	case "cpu/online", "cpu/present", "cpu/enabled":
		return renderCPUOnline
	case "cpu/offline":
		return renderCPUOffline
	case "node/online":
		return renderOnlineNodes
	case "node/has_cpu":
		return renderNodesWithCPUs
	case "node/has_memory", "node/has_normal_memory", "node/has_high_memory", "node/has_generic_initiator":
		return renderNodeList
	}
	dir, name := path.Dir(p), path.Base(p)
	var ok bool
	if r.number, ok = nodeNumber(dir); ok {
		return nodeRenderers[name]
	}
	if r.number, ok = cpuNumber(path.Dir(dir), path.Base(dir)); ok && name == "online" {
		return renderOneCPU
	}
	return topologyRenderer(dir, name)
}

// topologyRenderer returns the renderFunc of a file of a CPU that has numbers of other CPUs, those
// that share a core or a cache with it for instance, or nil.
func topologyRenderer(dir, name string) renderFunc {
	isTopology := path.Base(dir) == "topology"
	switch {
	case name == "shared_cpu_list", isTopology && strings.HasSuffix(name, "_list"):
		return renderCPUList
	case name == "shared_cpu_map",
		isTopology && (strings.HasSuffix(name, "_cpus") || strings.HasSuffix(name, "_siblings")):
		return renderCPUMap
	}
	return nil
}

func renderCPUList(r *reader, dst []byte) ([]byte, error) {
	if err := errors.Join(r.readCPUs(), r.readHostFile()); err != nil {
		return dst, err
	}
	return view.CPUList(dst, &r.cpus, r.buf)
}

func renderCPUMap(r *reader, dst []byte) ([]byte, error) {
	if err := errors.Join(r.readCPUs(), r.readHostFile()); err != nil {
		return dst, err
	}
	return view.CPUMap(dst, &r.cpus, r.buf)
}

// readHostFile reads the host's file at r.path into r.buf.
func (r *reader) readHostFile() (err error) {
	r.buf, err = r.fs.sysfs.root.ReadFileAt(r.path, r.buf)
	return err
}

func renderCPUOnline(r *reader, dst []byte) ([]byte, error) {
	err := r.readCPUs()
	return view.CPUOnline(dst, &r.cpus), err
}

func renderCPUOffline(r *reader, dst []byte) ([]byte, error) {
	possible, err := r.fs.host.Possible()
	if err != nil {
		return dst, err
	}
	err = r.readCPUs()
	return view.CPUOffline(dst, possible, &r.cpus), err
}

// renderOneCPU renders cpuN/online.
func renderOneCPU(r *reader, dst []byte) ([]byte, error) {
	if err := r.readCPUs(); err != nil {
		return dst, err
	}
	if _, ok := r.cpus.Index(r.number); ok {
		return append(dst, "1\n"...), nil
	}
	return append(dst, "0\n"...), nil // the container had the CPU when it opened the file
}

// nodeRenderers has the files of node/nodeN that differ from the host's.
var nodeRenderers = map[string]renderFunc{
	"cpulist":  renderCPUList,
	"cpumap":   renderCPUMap,
	"distance": renderNodeDistance,
	"meminfo":  withHost((*procfs.FS).Nodes, renderNodeMeminfo),
	"numastat": renderNodeNumastat,
	"vmstat":   withHost((*procfs.FS).Nodes, renderNodeVmstat),
}

func renderOnlineNodes(r *reader, dst []byte) ([]byte, error) {
	err := r.readNodes()
	return append(r.nodes.Append(dst), '\n'), err
}

// renderNodeList renders a list of nodes: those of the host's that the container sees.
func renderNodeList(r *reader, dst []byte) ([]byte, error) {
	if err := errors.Join(r.readNodes(), r.readHostFile()); err != nil {
		return dst, err
	}
	return view.NodeList(dst, r.buf, &r.nodes), nil
}

// renderNodesWithCPUs renders has_cpu: the nodes of the CPUs in the container's cpuinfo.
func renderNodesWithCPUs(r *reader, dst []byte) ([]byte, error) {
	host, err := r.fs.host.Nodes()
	if err := errors.Join(err, r.readNodes(), r.readCPUs()); err != nil {
		return dst, err
	}
	return view.NodesWithCPUs(dst, host, &r.nodes, &r.cpus), nil
}

func renderNodeDistance(r *reader, dst []byte) ([]byte, error) {
	online, err := r.fs.host.OnlineNodes()
	if err := errors.Join(err, r.readNodes(), r.readHostFile()); err != nil {
		return dst, err
	}
	return view.NodeDistance(dst, online, &r.nodes, r.buf), nil
}

func renderNodeNumastat(r *reader, dst []byte) ([]byte, error) {
	err := r.readHostFile()
	return view.NodeNumastat(dst, r.buf), err
}

// readShare sets r.values to the node's part of the container's memory, and returns the events that
// the kernel counts for the cgroup on the node.
func (r *reader) readShare(host *procfs.Nodes) (*cgroup.Events, error) {
	meminfo, err := r.fs.host.Meminfo()
	if err == nil {
		err = errors.Join(r.readMemValues(meminfo), r.readNodes())
	}
	if err == nil && host.Find(r.number) == nil {
		err = errHostContent // it was removed: the kernel's error
	}
	if err != nil {
		return nil, err
	}
	highest := host.List[len(host.List)-1].Number
	r.nodeStats = slices.Grow(r.nodeStats[:0], highest+1)[:highest+1]
	clear(r.nodeStats)
	events := &r.mem.Stat.Events
	if len(host.List) > 1 {
		if err := r.c.Group.NodeStats(r.nodeStats, &r.files); err != nil {
			return nil, err
		}
		events = &r.nodeStats[r.number].Events
	}
	r.shares.Set(host, &r.nodes, r.nodeStats)
	r.values = r.shares.Values(r.number, &r.values)
	return events, nil
}

func renderNodeMeminfo(r *reader, dst []byte, host *procfs.Nodes) ([]byte, error) {
	if _, err := r.readShare(host); err != nil {
		return dst, err
	}
	return view.Meminfo(dst, host.Find(r.number).Meminfo, &r.values, view.MemOptions{}), nil
}

func renderNodeVmstat(r *reader, dst []byte, host *procfs.Nodes) ([]byte, error) {
	events, err := r.readShare(host)
	if err != nil {
		return dst, err
	}
	return view.Vmstat(dst, host.Vmstat, &r.values, events, r.fs.pageSizes), nil
}
