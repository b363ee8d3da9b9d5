package lxcfs

import (
	"palisade/internal/linux/cgroup"
	"palisade/internal/linux/cpulist"
	"palisade/internal/linux/ktext"
	"palisade/internal/linux/procfs"
	"palisade/internal/linux/sys"
	"palisade/internal/lxcfs/view"
)

// readNodes sets r.nodes to the NUMA nodes on which the container may allocate memory: the online
// nodes of its cpuset. If there are none, in which case the kernel does not apply it, they are all
// online nodes. Without NUMA there are none.
func (r *reader) readNodes() error {
	r.nodes = cpulist.Set{}
	if !r.fs.numa {
		return nil
	}
	online, err := r.fs.host.OnlineNodes()
	if err != nil {
		return err
	}
	if r.fs.severalNodes {
		if err := r.c.Group.MemoryNodes(&r.nodes, &r.files); optional(err) != nil {
			return err
		}
		r.nodes.Intersect(online)
	}
	if r.nodes.Len() == 0 {
		r.nodes = *online
	}
	return nil
}

// limitToNodes lowers the memory of the host to that of the nodes which the container may use.
func (r *reader) limitToNodes(total *sys.Sysinfo) error {
	if !r.fs.severalNodes {
		return nil
	}
	if err := r.readNodes(); err != nil {
		return err
	}
	online, err := r.fs.host.OnlineNodes()
	if err != nil || *online == r.nodes {
		return err
	}
	host, err := r.fs.host.Nodes()
	if err == nil {
		total.MemTotal = min(total.MemTotal, ktext.Mul(host.MemTotal(&r.nodes), 1024))
	}
	return err
}

// readMemValues sets r.values to the values of the container's /proc/meminfo.
func (r *reader) readMemValues(host *procfs.Meminfo) error {
	total, err := r.readMemory()
	if err == nil && host.Values[procfs.MemHugetlb] > 0 {
		err = r.c.Group.HugePages(&r.mem, &r.files)
	}
	r.values = view.MemValues(host, total, &r.mem, r.fs.opts.Memory)
	return err
}

func renderMeminfo(r *reader, dst []byte, host *procfs.Meminfo) ([]byte, error) {
	if err := r.readMemValues(host); err != nil {
		return dst, err
	}
	return view.Meminfo(dst, host, &r.values, r.fs.opts.Memory), nil
}

func renderVmstat(r *reader, dst []byte, host *procfs.Vmstat) ([]byte, error) {
	meminfo, err := r.fs.host.Meminfo()
	if err == nil {
		err = r.readMemValues(meminfo)
	}
	if err == nil {
		err = r.readEvents()
	}
	if err != nil {
		return dst, err
	}
	return view.Vmstat(dst, host, &r.values, &r.mem.Stat.Events, r.fs.pageSizes), nil
}

// readEvents completes the counters in r.mem, which readMemory has set. They never decrease: the
// kernel forgets the I/O of disks that are removed, and on v1 before Linux 5.2 the events of
// removed descendants.
func (r *reader) readEvents() (err error) {
	events := &r.mem.Stat.Events
	if events[cgroup.OOMKill], err = r.c.Group.OOMKills(&r.files); err != nil {
		return err
	}
	if r.io, err = r.c.Group.IO(r.io[:0], &r.files); optional(err) != nil {
		return err
	}
	var in, out uint64
	for i := range r.io {
		in = ktext.Add(in, r.io[i].ReadBytes)
		out = ktext.Add(out, r.io[i].WriteBytes)
	}
	events[cgroup.PageIn], events[cgroup.PageOut] = in/1024, out/1024
	s := r.fs.stateOf(r.c)
	s.mu.Lock()
	defer s.mu.Unlock()
	for e := range events {
		s.events[e] = max(s.events[e], events[e])
	}
	*events = s.events
	return nil
}
