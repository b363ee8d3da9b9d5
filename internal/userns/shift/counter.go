package shift

import (
	"sync/atomic"
	"time"
)

// counter counts files for several workers, each of which has a number of its own.
type counter struct {
	perWorker []paddedCount
	report    func(Progress)
	current   Progress
	stop      chan struct{}
	stopped   chan struct{}
}

// paddedCount has a cache line for itself.
type paddedCount struct {
	n atomic.Uint64
	_ [56]byte
}

// progressTime is how often progress is reported.
const progressTime = 200 * time.Millisecond

// newCounter begins to count, and to report.
func newCounter(jobs int, pass string, total uint64, report func(Progress)) *counter {
	c := &counter{perWorker: make([]paddedCount, jobs), report: report, current: Progress{Pass: pass, Total: total},
		stop: make(chan struct{}), stopped: make(chan struct{})}
	if report == nil {
		close(c.stopped)
		return c
	}
	go func() {
		defer close(c.stopped)
		ticker := time.NewTicker(progressTime)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				c.tell()
			case <-c.stop:
				c.tell()
				return
			}
		}
	}()
	return c
}

func (c *counter) tell() {
	c.current.Done = c.sum()
	c.report(c.current)
}

func (c *counter) add(worker int) { c.perWorker[worker].n.Add(1) }

func (c *counter) sum() (n uint64) {
	for i := range c.perWorker {
		n += c.perWorker[i].n.Load()
	}
	return n
}

// end ends the reports, with a last one.
func (c *counter) end() {
	close(c.stop)
	<-c.stopped
}
