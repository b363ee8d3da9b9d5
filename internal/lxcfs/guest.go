package lxcfs

import (
	"math"
	"sync"
	"time"

	"palisade/internal/linux/sys"
	"palisade/internal/lxcfs/account"
	"palisade/internal/lxcfs/meter"
	"palisade/internal/lxcfs/view"
)

const (
	// sampleEvery is the interval of the load averages' samples, the kernel's LOAD_FREQ.
	sampleEvery = 5 * time.Second
	// roundTime bounds the time for the samples of all containers, to 10 % of a CPU. One container
	// gets at most sampleTime of it, and with many containers at least minSampleTime.
	roundTime     = sampleEvery / 10
	sampleTime    = 40 * time.Millisecond
	minSampleTime = time.Millisecond
)

// guest is what is kept of a container between its reads. The zero guest is that of one that was never read.
type guest struct {
	restored sync.Once
	diskList diskList

	mu sync.Mutex
	// record is the number of its record in guestState, from 1 on; less if it has none.
	record int
	clock  account.CPUClock
	load   account.Load
	// sampled is when load took its last sample, as the time since boot.
	sampled time.Duration
	count   taskCount
}

// guest is the state of the reader's container, with what an earlier daemon knew of it.
func (r *reader) guest() *guest { return r.fs.guest(r.c) }

func (f *FS) guest(c *knownContainer) *guest {
	g := c.State
	g.restored.Do(func() { f.state.attach(c, g) })
	return g
}

// loadavg is the load averages in the kernel's fixed point.
func (g *guest) loadavg() (avg [3]uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i, load := range g.load {
		avg[i] = uint64(math.Round(load * view.LoadOne))
	}
	return avg
}

// sample takes a sample of the container's load, within the time limit.
func (f *FS) sample(r *reader, limit time.Duration) error {
	tasks, isNew, err := r.tasks(limit)
	if !isNew || err != nil {
		return err // the next sample covers the time since the last one
	}
	now := sys.SinceBoot()
	g := r.guest()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.sampled == 0 {
		g.sampled = now - sampleEvery
	}
	g.load.Sample(tasks.Running+tasks.Blocked, now-g.sampled)
	g.sampled = now
	f.state.save(g)
	return nil
}

// sampleLoads samples the load of all containers, until the process ends.
func (f *FS) sampleLoads() {
	r := &reader{fs: f}
	for range time.Tick(sampleEvery) {
		all := f.finder.All() // in random order, so that none is always left out
		limit := min(sampleTime, roundTime/time.Duration(max(len(all), 1)))
		until := time.Now().Add(roundTime)
		for _, c := range all {
			r.c = c
			if time.Now().Before(until) {
				if err := f.sample(r, max(limit, minSampleTime)); err != nil && !isGone(err) {
					f.log.Error("load", "cannot sample the load of a container", err)
					f.meter.Error(meter.Load)
				}
			}
			c.Release()
		}
	}
}
