package lxcfs

import (
	"errors"
	"sync/atomic"
	"syscall"
	"time"

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

// renderFunc appends the content of a file for the reader's container to dst.
type renderFunc func(r *reader, dst []byte) ([]byte, error)

// withHost returns a renderFunc that calls render with the host's file.
func withHost[T any](
	get func(*procfs.FS) (*T, error), render func(r *reader, dst []byte, host *T) ([]byte, error),
) renderFunc {
	return func(r *reader, dst []byte) ([]byte, error) {
		host, err := get(r.fs.host)
		if err != nil {
			return dst, err
		}
		return render(r, dst, host)
	}
}

// reader is the reader of a file, and the buffers for the stats of its container. It is reused.
type reader struct {
	fs  *FS
	tid uint32
	// c is valid in a renderFunc.
	c *knownContainer
	// hint is the container.Hint of the reader's seccomp filter, or nil for a reader of a file.
	hint *atomic.Pointer[container.Hint]
	// file is the file as which the meter counts the read.
	file meter.File

	find   container.Scratch
	files  cgroup.Scratch
	mem    cgroup.Memory
	usage  cgroup.CPUUsage
	io     []cgroup.DeviceIO
	cpuset cpulist.Set
	cpus   view.CPUs
	// nodes are the NUMA nodes that the container sees, nodeStats its memory on all nodes by number.
	nodes     cpulist.Set
	nodeStats []cgroup.MemoryStat
	shares    view.Nodes
	values    procfs.MemValues
	// path is the path of a file of the sysfs tree, and number that of its CPU or node.
	path    string
	number  int
	times   []account.CPUTime
	buf     []byte
	threads []int
}

func (f *FS) getReader(tid uint32) *reader {
	r := f.readers.Get().(*reader)
	r.tid, r.file, r.hint = tid, meter.NoFile, nil
	return r
}

func (f *FS) putReader(r *reader) {
	r.c = nil
	f.readers.Put(r)
}

func (f *FS) render(tree subtree, req *fusedev.Request, dst []byte) ([]byte, error) {
	r := f.getReader(req.TID)
	began := time.Now()
	defer func() {
		f.meter.Read(r.file, time.Since(began))
		f.putReader(r)
	}()
	return tree.render(r, req, dst)
}

// find returns the container whose values the thread tid gets, or nil for the host's.
func (f *FS) find(tid uint32, s *container.Scratch) (*knownContainer, error) {
	if f.off.Load() {
		return nil, nil
	}
	return f.finder.Find(tid, s)
}

func (r *reader) findContainer() (*knownContainer, error) {
	if r.hint == nil || r.fs.off.Load() {
		return r.fs.find(r.tid, &r.find)
	}
	return r.fs.finder.FindByHint(r.tid, r.hint, &r.find)
}

// renderFor calls render for the reader's container. It returns false if the reader gets the host's
// file: it is of the host, or render failed.
func (r *reader) renderFor(name string, render renderFunc, dst []byte) ([]byte, bool) {
	f := r.fs
	var err error
	kind := meter.Container
	// The second try finds the container again: its init may have moved, and the old cgroup removed.
	for range 2 {
		if r.c, err = r.findContainer(); err != nil || r.c == nil {
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
	if err != nil && !errors.Is(err, errHostContent) && !errors.Is(err, cgroup.ErrNoController) {
		f.log.Error(name, "the host's "+name+" is shown to a container", err)
		f.meter.Fallback(r.file)
		f.meter.Error(kind)
	}
	return dst, false
}

// isGone reports whether err is that of a removed cgroup.
func isGone(err error) bool {
	return errors.Is(err, syscall.ENODEV) || errors.Is(err, syscall.ENOENT)
}

// errHostContent makes a renderFunc's reader get the host's file. It is not logged.
var errHostContent = errors.New("the container has the host's content")

// optional returns nil if err says that the cgroup has no such controller.
func optional(err error) error {
	if errors.Is(err, cgroup.ErrNoController) {
		return nil
	}
	return err
}

func (r *reader) readCPUs() error {
	online, err := r.fs.host.Online()
	if err != nil {
		return err
	}
	if err := r.c.Group.CPUSet(&r.cpuset, &r.files); errors.Is(err, cgroup.ErrNoController) {
		r.cpuset = *online
	} else if err != nil {
		return err
	}
	var quota cgroup.Quota
	if r.fs.opts.Quota {
		quota, err = r.c.Group.Quota(&r.files)
	}
	r.cpus.Set(online, &r.cpuset, quota)
	return optional(err)
}

// age returns the time since the start of the container.
func (r *reader) age() time.Duration { return max(sys.SinceBoot()-r.c.Start(), 0) }

// readTimes updates the container's CPU times, and copies them to r.times for all CPUs that it ever
// saw. It returns the container's age.
func (r *reader) readTimes() (age time.Duration, err error) {
	if err := r.readCPUs(); err != nil {
		return 0, err
	}
	age = r.age()
	if err := r.c.Group.CPUUsage(&r.usage, &r.files); err != nil {
		return 0, err
	}
	allowed := account.Allowance{
		N: r.cpus.Len(), Host: r.cpus.OneToOne(), Quota: r.cpus.Quota(),
	}
	s := r.fs.stateOf(r.c)
	s.mu.Lock()
	defer s.mu.Unlock()
	clock := &s.counters.Clock
	clock.Advance(age, allowed, &r.usage)
	r.fs.save(s)
	r.times = append(r.times[:0], clock.CPUs...)
	return age, nil
}

// bootOffset returns how far CLOCK_BOOTTIME of the reader is ahead of the host's. If it is not, the
// reader has no time namespace, or one that does not change this clock, and its uptime is the age of
// its container.
func (r *reader) bootOffset() (time.Duration, error) {
	return r.fs.finder.BootOffset(r.tid, r.c, &r.find)
}

// uptime returns the uptime of the reader, whose container has the given age.
func (r *reader) uptime(age time.Duration) (time.Duration, error) {
	if boot, err := r.bootOffset(); boot != 0 || err != nil {
		return sys.SinceBoot() + boot, err
	}
	return age, nil
}

// readMemory sets r.mem to the container's memory, and returns the host's current totals.
func (r *reader) readMemory() (sys.Sysinfo, error) {
	total, err := r.fs.host.Sysinfo()
	if err != nil {
		return total, err
	}
	if err := r.limitToNodes(&total); err != nil {
		return total, err
	}
	swap := r.fs.opts.Memory.Swap && total.SwapTotal > 0
	return total, r.c.Group.Memory(&r.mem, swap, &r.files)
}

func renderCpuinfo(r *reader, dst []byte, host *procfs.Cpuinfo) ([]byte, error) {
	if err := r.readCPUs(); err != nil {
		return dst, err
	}
	return view.Cpuinfo(dst, host, &r.cpus), nil
}

func renderSwaps(r *reader, dst []byte, host *procfs.Swaps) ([]byte, error) {
	total, err := r.readMemory()
	if err != nil {
		return dst, err
	}
	return view.Swaps(dst, host, total, &r.mem, r.fs.opts.Memory), nil
}

func renderStat(r *reader, dst []byte, host *procfs.Stat) ([]byte, error) {
	if _, err := r.readTimes(); err != nil {
		return dst, err
	}
	tasks, err := r.shownTasks()
	if err != nil {
		return dst, err
	}
	boot, err := r.bootOffset()
	return view.Stat(dst, host, r.times, r.cpus.Len(), tasks, boot), err
}

func renderUptime(r *reader, dst []byte) ([]byte, error) {
	age, err := r.readTimes()
	if err != nil {
		return dst, err
	}
	uptime, err := r.uptime(age)
	if err != nil {
		return dst, err
	}
	var idle uint64 // that of /proc/stat, as in the kernel
	for _, cpu := range r.times {
		idle += cpu.Idle
	}
	return view.Uptime(dst, uptime, idle), nil
}

func renderLoadavg(r *reader, dst []byte) ([]byte, error) {
	if !r.fs.opts.Loadavg {
		return dst, errHostContent
	}
	tasks, err := r.shownTasks()
	if err != nil {
		return dst, err
	}
	tasks.LastPID = r.lastPID(tasks.LastPID)
	return view.Loadavg(dst, view.Load{Avg: r.fs.stateOf(r.c).loadavg(), Tasks: tasks}), nil
}

func renderSlabinfo(r *reader, dst []byte) (_ []byte, err error) {
	if r.buf, err = r.c.Group.Slabinfo(r.buf[:0]); optional(err) != nil {
		return dst, err
	}
	return view.Slabinfo(dst, r.buf), nil
}

// renderPressure returns the renderFunc of a pressure file: it copies that of the container.
func renderPressure(resource string) renderFunc {
	return func(r *reader, dst []byte) (_ []byte, err error) {
		path, ok := r.c.Group.PressurePath(resource)
		if !ok {
			return dst, errHostContent
		}
		r.buf, err = sys.ReadFile(path, r.buf)
		return append(dst, r.buf...), err
	}
}

// disks returns the disks that the container sees; the list must not be changed.
func (r *reader) disks() ([]view.Disk, error) {
	return r.fs.disks.Disks(r.c, &r.fs.stateOf(r.c).disks)
}

func renderDiskstats(r *reader, dst []byte, host *procfs.Disks) ([]byte, error) {
	disks, err := r.disks()
	if err != nil {
		return dst, err
	}
	if r.io, err = r.c.Group.IO(r.io[:0], &r.files); optional(err) != nil {
		return dst, err
	}
	return view.Diskstats(dst, host, disks, r.io), nil
}

func renderPartitions(r *reader, dst []byte, host *procfs.Disks) ([]byte, error) {
	disks, err := r.disks()
	if err != nil {
		return dst, err
	}
	return view.Partitions(dst, host, disks), nil
}
