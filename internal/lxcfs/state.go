package lxcfs

import (
	"math"
	"math/rand/v2"
	"sync"
	"time"

	"palisade/internal/linux/cgroup"
	"palisade/internal/linux/cpulist"
	"palisade/internal/linux/procfs"
	"palisade/internal/linux/sys"
	"palisade/internal/lxcfs/container"
	"palisade/internal/lxcfs/disk"
	"palisade/internal/lxcfs/meter"
	"palisade/internal/lxcfs/persist"
	"palisade/internal/lxcfs/view"
)

const (
	// sampleInterval is the interval of the samples for the load averages, the kernel's LOAD_FREQ.
	sampleInterval = 5 * time.Second
	// roundTime bounds the time for the samples of all containers, to 10 % of a CPU. One container
	// gets at most sampleTime of it, and with many containers at least minSampleTime.
	roundTime     = sampleInterval / 10
	sampleTime    = 40 * time.Millisecond
	minSampleTime = time.Millisecond
)

type knownContainer = container.Container[containerState]

// containerState is what is kept of a container between its reads.
type containerState struct {
	restored sync.Once
	disks    disk.List

	mu       sync.Mutex
	counters persist.ContainerCounters
	record   *persist.Record
	count    taskCount
	// events are the counters of the last /proc/vmstat.
	events cgroup.Events
}

// stateOf returns the state of a container, with what an earlier worker knew of it.
func (f *FS) stateOf(c *knownContainer) *containerState {
	s := c.State
	s.restored.Do(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.record = f.kept.Counters.Attach(keyOf(c), &s.counters)
	})
	return s
}

// save saves the counters for the next worker; s.mu is held.
func (f *FS) save(s *containerState) { f.kept.Counters.Save(s.record, &s.counters) }

func keyOf(c *knownContainer) persist.Key {
	return persist.Key{PIDNamespace: c.PIDNamespace(), PID: c.InitPID(), Start: c.Start()}
}

// isRunning reports whether the init of a container still exists.
func (f *FS) isRunning(key persist.Key) bool {
	stat, _, err := procfs.ReadTaskStatIn(f.proc, key.PID, nil)
	return err == nil && stat.Start == key.Start
}

// possibleCPUs returns the number of CPUs that a container can ever see, including those that may
// be added.
func possibleCPUs(host *procfs.FS) int {
	possible, err := host.Possible()
	if err != nil {
		return cpulist.MaxCPU
	}
	last := 0
	for cpu := possible.Next(0); cpu >= 0; cpu = possible.Next(cpu + 1) {
		last = cpu
	}
	return last + 1
}

// loadavg returns the load averages in the kernel's fixed point.
func (s *containerState) loadavg() (avg [3]uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, load := range s.counters.Load {
		avg[i] = uint64(math.Round(load * view.LoadOne))
	}
	return avg
}

// sampleLoads samples the load of all containers until the process ends.
func (f *FS) sampleLoads() {
	r := &reader{fs: f}
	for range time.Tick(sampleInterval) {
		all := f.finder.All() // in random order, so that the same ones are not always left out
		limit := min(sampleTime, roundTime/time.Duration(max(len(all), 1)))
		until := time.Now().Add(roundTime)
		for _, c := range all {
			r.c = c
			if time.Now().Before(until) {
				if err := r.sampleLoad(max(limit, minSampleTime)); err != nil && !isGone(err) {
					f.log.Error("load", "cannot sample the load of a container", err)
					f.meter.Error(meter.Load)
				}
			}
			c.Release()
		}
	}
}

func (r *reader) sampleLoad(limit time.Duration) error {
	tasks, isNew, err := r.tasks(limit)
	if !isNew || err != nil {
		return err // the next sample covers the time since the last one
	}
	now := sys.SinceBoot()
	s := r.fs.stateOf(r.c)
	s.mu.Lock()
	defer s.mu.Unlock()
	c := &s.counters
	if c.Sampled == 0 {
		c.Sampled = now - sampleInterval
	}
	c.Load.Sample(tasks.Running+tasks.Blocked, now-c.Sampled)
	c.Sampled = now
	r.fs.save(s)
	return nil
}

const (
	// recentTasks is the maximum age of the count of tasks in /proc/stat and /proc/loadavg.
	recentTasks = time.Second
	// maxCounted bounds the threads whose state is read for a count, and maxThreads those from which
	// they are sampled. The count is extrapolated to the others.
	maxCounted = 2048
	maxThreads = 1 << 15
	// countTime bounds the time that a reader waits for a count, see also sampleTime. Reading one
	// thread takes about 20 microseconds.
	countTime = 4 * time.Millisecond
	// pauseFactor is the pause after a count, as a multiple of the time that the count took, up to
	// maxPause: the counts of all containers of a principal take at most 2 % of a CPU.
	pauseFactor = 50
	maxPause    = sampleInterval
)

// taskCount is a count of a container's tasks.
type taskCount struct {
	tasks view.Tasks
	// at is the time of the count, by FS.clock, and used the container's CPU time then.
	at   time.Duration
	used uint64
}

// tasks counts the tasks of the container, within the time limit, unless the last count is younger
// than recentTasks. If the container has used no CPU time since the last count, the count is still
// valid: a task must run to change its state. While the principal rests, tasks returns the last
// count, and isNew is false.
func (r *reader) tasks(limit time.Duration) (t view.Tasks, isNew bool, err error) {
	s, now := r.fs.stateOf(r.c), r.fs.clock()
	s.mu.Lock()
	last := s.count
	last.tasks.LastPID = s.counters.LastPID
	s.mu.Unlock()
	if last.at != 0 && now-last.at < recentTasks {
		return last.tasks, true, nil
	}
	used, err := r.c.Group.CPUTotal(&r.files)
	if err != nil {
		return view.Tasks{}, false, err
	}
	count := taskCount{last.tasks, now, used}
	if last.at == 0 || count.used != last.used {
		principal := r.c.Principal()
		if !mayCount(principal, now, limit) {
			return last.tasks, false, nil
		}
		count.tasks, err = r.countTasks(limit)
		end := r.fs.clock()
		principal.Resting.Store(int64(end + min(pauseFactor*(end-now), maxPause)))
		if err != nil {
			return view.Tasks{}, false, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counters.LastPID = max(s.counters.LastPID, count.tasks.LastPID)
	count.tasks.LastPID = s.counters.LastPID
	s.count = count
	r.fs.save(s)
	return count.tasks, true, nil
}

// mayCount reports whether a count may be made for the principal, and reserves the time for it:
// only one count is in progress at a time.
func mayCount(p *container.Principal, now, limit time.Duration) bool {
	resting := p.Resting.Load()
	return int64(now) >= resting && p.Resting.CompareAndSwap(resting, int64(now+pauseFactor*limit))
}

// shownTasks returns the tasks as the reader sees them. The reader itself counts as running, though
// it waits for this content.
func (r *reader) shownTasks() (view.Tasks, error) {
	t, isNew, err := r.tasks(countTime)
	if !isNew && err == nil {
		if all, ok := r.c.Group.Tasks(&r.files); ok {
			t.Total = all
		}
	}
	t.Running = max(t.Running, 1)
	t.Total = max(t.Total, t.Running)
	return t, err
}

// lastPID returns the last pid of the container's pid namespace as far as it is known: at least the
// reader's.
func (r *reader) lastPID(counted int) int {
	own, err := r.c.PIDInside(r.fs.proc, int(r.tid), &r.find)
	if err != nil || own <= counted {
		return counted
	}
	s := r.fs.stateOf(r.c)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counters.LastPID = max(s.counters.LastPID, own)
	r.fs.save(s)
	return own
}

// countTasks reads the state of each thread, or of a random sample, within the time limit.
func (r *reader) countTasks(limit time.Duration) (view.Tasks, error) {
	until := time.Now().Add(limit)
	listUntil := until.Add(-limit / 2)
	threads, err := r.c.Group.Threads(r.threads[:0], maxThreads, listUntil, &r.files)
	if err != nil {
		return view.Tasks{}, err
	}
	if r.threads = threads; len(threads) > maxCounted {
		r.threads = nil // free the memory of a large list
	}
	var t, first view.Tasks
	counted, newest, started := 0, 0, time.Duration(-1)
	for most := min(len(threads), maxCounted); counted < most; counted++ {
		other := len(threads) - 1 // the last in the list is likely the newest
		if counted > 0 {
			if counted == 1 {
				first = t
			}
			if time.Now().After(until) {
				break
			}
			other = counted + rand.IntN(len(threads)-counted)
		}
		threads[counted], threads[other] = threads[other], threads[counted]
		tid := threads[counted]
		var stat procfs.TaskStat
		if stat, r.buf, err = procfs.ReadTaskStatIn(r.fs.proc, tid, r.buf); err != nil {
			continue // it has ended
		}
		switch stat.State {
		case 'R':
			t.Running++
		case 'D':
			t.Blocked++
		}
		if stat.Start > started || stat.Start == started && tid > newest {
			newest, started = tid, stat.Start
		}
	}
	t.Total = len(threads)
	if all, ok := r.c.Group.Tasks(&r.files); ok {
		t.Total = max(t.Total, all)
	}
	// The first is likely the reader, which runs: it does not stand for others.
	if others := counted - 1; others > 0 {
		t.Running = first.Running + (t.Running-first.Running)*(t.Total-1)/others
		t.Blocked = first.Blocked + (t.Blocked-first.Blocked)*(t.Total-1)/others
	}
	if newest != 0 { // an error means that it has ended; an older pid is shown then
		t.LastPID, _ = r.c.PIDInside(r.fs.proc, newest, &r.find)
	}
	return t, nil
}
