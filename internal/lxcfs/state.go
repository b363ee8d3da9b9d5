package lxcfs

import (
	"math"
	"sync"
	"time"

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
