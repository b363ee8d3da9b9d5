package lxcfs

import (
	"errors"
	"syscall"

	"palisade/internal/linux/cgroup"
	"palisade/internal/linux/cpulist"
	"palisade/internal/linux/procfs"
	"palisade/internal/linux/sys"
	"palisade/internal/lxcfs/account"
	"palisade/internal/lxcfs/container"
	"palisade/internal/lxcfs/fusedev"
	"palisade/internal/lxcfs/meter"
	"palisade/internal/lxcfs/view"
)

// renderer appends a container's text of one file to dst.
type renderer func(r *reader, dst []byte) ([]byte, error)

// reader is a container that reads, and the memory in which its figures are gathered; it is used again and again.
type reader struct {
	fs  *FS
	c   *container.Container[guest]
	tid uint32
	// file is what is read, for the meter.
	file meter.File

	find   container.Scratch
	files  cgroup.Scratch
	mem    cgroup.Memory
	usage  cgroup.CPUUsage
	io     []cgroup.DeviceIO
	cpuset cpulist.Set
	cpus   view.CPUs
	times  []account.CPUTime
	text   []byte
	// threads are those of the container, for a count.
	threads []int
}

// find returns the container whose view the thread tid gets, nil for the host's.
func (f *FS) find(tid uint32, s *container.Scratch) (*container.Container[guest], error) {
	if f.off.Load() {
		return nil, nil
	}
	return f.finder.Find(tid, s)
}

// render appends the text of the request's node, as its reader sees it, to dst.
func (f *FS) render(req *fusedev.Request, dst []byte) ([]byte, error) {
	r := f.readers.Get().(*reader)
	began := f.meter.Now()
	defer func() {
		f.meter.Read(r.file, began)
		r.c = nil // it may be gone at any time
		f.readers.Put(r)
	}()
	r.fs, r.tid, r.file = f, req.TID, meter.NoFile

	n := f.tree.node(req.Node)
	switch {
	case n != nil:
	case isContainers(req.Node):
		return f.renderContainers(r, req.Node, dst)
	default:
		return f.renderCPUDir(r, req.Node, dst)
	}
	if n.render == nil {
		return dst, syscall.EISDIR
	}
	r.file = n.file
	if out, ok := f.renderFor(r, n.name, n.render, dst); ok {
		return out, nil
	}
	if n.own != nil {
		return n.own(f, dst)
	}
	return f.hostFile(req, n, dst)
}

// renderFor appends the text that render makes for the reader's container. It tells false where the reader is to get the
// host's file: it is the host's, or its text cannot be made.
func (f *FS) renderFor(r *reader, name string, render renderer, dst []byte) ([]byte, bool) {
	var err error
	kind := meter.Container
	// A second try finds the container anew: its init may have been moved, and its old cgroup removed.
	for range 2 {
		if r.c, err = f.find(r.tid, &r.find); err != nil || r.c == nil {
			break
		}
		kind = meter.Stats
		var out []byte
		out, err = render(r, dst)
		gone := isGone(err)
		if gone {
			f.finder.Forget(r.c)
		}
		r.c.Release()
		if err == nil {
			return out, true
		}
		if !gone {
			break
		}
	}
	// A cgroup without the controller is the root, or is not limited by it.
	if err != nil && !errors.Is(err, errHostText) && !errors.Is(err, cgroup.ErrNoController) {
		f.fallBack(r.file, name, kind, err)
	}
	return dst, false
}

// isGone tells whether err is that of a cgroup that was removed.
func isGone(err error) bool { return errors.Is(err, syscall.ENODEV) || errors.Is(err, syscall.ENOENT) }

// errHostText makes a renderer's reader get the host's text without a word in the log.
var errHostText = errors.New("the host's text is the container's")

// readCPUs works out which CPUs the container sees.
func (r *reader) readCPUs() error {
	online, err := r.fs.host.Online()
	if err != nil {
		return err
	}
	if err := r.c.Group.CPUSet(&r.cpuset, &r.files); errors.Is(err, cgroup.ErrNoController) {
		r.cpuset.Copy(*online)
	} else if err != nil {
		return err
	}
	var quota cgroup.Quota
	if r.fs.opts.Quota {
		if quota, err = r.c.Group.Quota(&r.files); err != nil && !errors.Is(err, cgroup.ErrNoController) {
			return err
		}
	}
	r.cpus.Set(online, &r.cpuset, quota)
	return nil
}

// readClock brings the container's CPU time up to date and copies it to r.times, for all CPUs that it ever saw.
func (r *reader) readClock() error {
	if err := r.readCPUs(); err != nil {
		return err
	}
	age := sys.SinceBoot() - r.c.Start()
	if err := r.c.Group.CPUUsage(&r.usage, &r.files); err != nil {
		return err
	}
	g := r.guest()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.clock.Advance(age, account.Allowance{N: r.cpus.Len(), Host: r.cpus.OneToOne(), Quota: r.cpus.Quota()}, &r.usage)
	r.fs.state.save(g)
	r.times = append(r.times[:0], g.clock.CPUs...)
	return nil
}

func renderCpuinfo(r *reader, dst []byte) ([]byte, error) {
	host, err := r.fs.host.Cpuinfo()
	if err != nil {
		return dst, err
	}
	if err := r.readCPUs(); err != nil {
		return dst, err
	}
	return view.Cpuinfo(dst, host, &r.cpus), nil
}

// readMemory reads the container's memory and returns the host's totals at this moment.
func (r *reader) readMemory() (sys.Sysinfo, error) {
	total, err := r.fs.host.Sysinfo()
	if err != nil {
		return total, err
	}
	return total, r.c.Group.Memory(&r.mem, r.fs.opts.Memory.Swap && total.SwapTotal > 0, &r.files)
}

func renderMeminfo(r *reader, dst []byte) ([]byte, error) {
	host, err := r.fs.host.Meminfo()
	if err != nil {
		return dst, err
	}
	total, err := r.readMemory()
	if err != nil {
		return dst, err
	}
	if host.Values[procfs.MemHugetlb] > 0 { // else there is no huge page to be limited
		if err := r.c.Group.HugePages(&r.mem, &r.files); err != nil {
			return dst, err
		}
	}
	return view.Meminfo(dst, host, total, &r.mem, r.fs.opts.Memory), nil
}

func renderSwaps(r *reader, dst []byte) ([]byte, error) {
	host, err := r.fs.host.Swaps()
	if err != nil {
		return dst, err
	}
	total, err := r.readMemory()
	if err != nil {
		return dst, err
	}
	return view.Swaps(dst, host, total, &r.mem, r.fs.opts.Memory), nil
}

func renderStat(r *reader, dst []byte) ([]byte, error) {
	host, err := r.fs.host.Stat()
	if err != nil {
		return dst, err
	}
	if err := r.readClock(); err != nil {
		return dst, err
	}
	tasks, err := r.shownTasks()
	if err != nil {
		return dst, err
	}
	return view.Stat(dst, host, r.times, r.cpus.Len(), tasks), nil
}

func renderUptime(r *reader, dst []byte) ([]byte, error) {
	if err := r.readCPUs(); err != nil {
		return dst, err
	}
	age := max(sys.SinceBoot()-r.c.Start(), 0)
	if err := r.c.Group.CPUUsage(&r.usage, &r.files); err != nil {
		return dst, err
	}
	t := r.usage.Total
	all := uint64(age) * uint64(r.cpus.Len())
	return view.Uptime(dst, age, all-min(all, t.User+t.Nice+t.System)), nil
}

func renderLoadavg(r *reader, dst []byte) ([]byte, error) {
	if !r.fs.opts.Loadavg {
		return dst, errHostText
	}
	tasks, err := r.shownTasks()
	if err != nil {
		return dst, err
	}
	tasks.LastPID = r.lastPID(tasks.LastPID)
	return view.Loadavg(dst, view.Load{Avg: r.guest().loadavg(), Tasks: tasks}), nil
}

func renderSlabinfo(r *reader, dst []byte) ([]byte, error) {
	text, err := r.c.Group.Slabinfo(r.text[:0])
	r.text = text
	if err != nil && !errors.Is(err, cgroup.ErrNoController) {
		return dst, err
	}
	return view.Slabinfo(dst, text), nil
}

// renderPressure copies the container's own pressure file; where it has none of its own it is the host's.
func renderPressure(resource string) renderer {
	return func(r *reader, dst []byte) ([]byte, error) {
		path, ok := r.c.Group.PressurePath(resource)
		if !ok {
			return dst, errHostText
		}
		text, err := sys.ReadFile(path, r.text)
		r.text = text
		return append(dst, text...), err
	}
}

func renderDiskstats(r *reader, dst []byte) ([]byte, error) {
	host, err := r.fs.host.Diskstats()
	if err != nil {
		return dst, err
	}
	disks, err := r.disks()
	if err != nil {
		return dst, err
	}
	if r.io, err = r.c.Group.IO(r.io[:0], &r.files); err != nil && !errors.Is(err, cgroup.ErrNoController) {
		return dst, err
	}
	return view.Diskstats(dst, host, disks, r.io), nil
}

func renderPartitions(r *reader, dst []byte) ([]byte, error) {
	host, err := r.fs.host.Partitions()
	if err != nil {
		return dst, err
	}
	disks, err := r.disks()
	if err != nil {
		return dst, err
	}
	return view.Partitions(dst, host, disks), nil
}
