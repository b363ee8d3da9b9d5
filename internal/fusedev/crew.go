package fusedev

import (
	"sync"
	"sync/atomic"
	"time"
)

const (
	// backlog is how many requests in a row must have been there before they were asked for, until another thread is
	// called to help; waited is how long a read takes at least that had to wait for its request.
	backlog = 8
	waited  = 4 * time.Microsecond
	// watchEvery is how often it is looked whether all threads that work are stuck, quietAfter after how many looks at
	// which there was no need it is no longer looked.
	watchEvery = 5 * time.Millisecond
	quietAfter = 20
)

// crew decides how many of the threads wait for requests. One is the best number as long as it keeps up: the kernel wakes
// waiting threads in turn, so that of two each comes from another CPU, cold, to every second request of a reader (measured:
// half as much time again for each read). Further threads help while requests pile up, or while those that work are
// stuck with a slow file; who is not needed rests.
type crew struct {
	// waiting counts the threads that wait for a request, or are about to; busy those that work on one.
	waiting, busy atomic.Int32
	// done counts the answered requests, for the watchdog and the supervisor of this process.
	// counted, if not nil, does so for the metrics.
	done, counted *atomic.Uint64
	// call wakes a thread that rests. ended is closed when the connection ends.
	call  chan struct{}
	ended chan struct{}
	end   sync.Once
	// alarm wakes the watch, watched tells that it is awake.
	alarm   chan struct{}
	watched atomic.Bool
}

func newCrew(done *atomic.Uint64) *crew {
	return &crew{
		done: done, call: make(chan struct{}, 1), ended: make(chan struct{}),
		alarm: make(chan struct{}, 1),
	}
}

// rest returns true when the thread is to wait for requests, false when the connection has ended.
func (c *crew) rest() bool {
	select {
	case <-c.call:
		return true
	case <-c.ended:
		return false
	}
}

// help calls one thread that rests, if there is one.
func (c *crew) help() {
	select {
	case c.call <- struct{}{}:
	default:
	}
}

// over lets everybody go.
func (c *crew) over() { c.end.Do(func() { close(c.ended) }) }

// received notes that a thread has a request to work on, and has the crew watched if nobody waits for the next.
func (c *crew) received() {
	c.busy.Add(1)
	if c.waiting.Add(-1) == 0 && !c.watched.Load() && c.watched.CompareAndSwap(false, true) {
		c.alarm <- struct{}{}
	}
}

// answered notes that the request is done with.
func (c *crew) answered() {
	c.busy.Add(-1)
	c.done.Add(1)
	if c.counted != nil {
		c.counted.Add(1)
	}
}

// watch calls for help when nobody waits for requests and none gets done.
func (c *crew) watch() {
	for {
		select {
		case <-c.alarm:
		case <-c.ended:
			return
		}
		for watched := true; watched; {
			c.lookOn()
			c.watched.Store(false)
			// Somebody may have got a request just now, and seen that the crew is watched.
			watched = c.waiting.Load() == 0 && c.watched.CompareAndSwap(false, true)
		}
	}
}

// lookOn looks until there was no need to help for a while.
func (c *crew) lookOn() {
	last := c.done.Load()
	for quiet := 0; quiet < quietAfter; quiet++ {
		time.Sleep(watchEvery)
		done := c.done.Load()
		if c.waiting.Load() == 0 && done == last {
			c.help()
			quiet = 0
		}
		last = done
	}
}
