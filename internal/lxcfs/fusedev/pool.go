package fusedev

import (
	"sync"
	"sync/atomic"
	"time"
)

const (
	// backlog is the number of consecutive requests that were pending when read, after which
	// another thread is woken. A read that took minWait or longer had to wait for its request.
	backlog = 8
	minWait = 4 * time.Microsecond
	// watchInterval is the period of the watchdog, which stops after idleRounds periods in which no
	// thread had to be woken.
	watchInterval = 5 * time.Millisecond
	idleRounds    = 20
)

// pool controls how many threads wait for requests. One is best as long as it keeps up: the kernel
// wakes waiting threads in turn, so that each of two would serve every second request of a reader
// on another CPU with cold caches, which made each read 1.5 times as slow. More threads are woken
// while requests are pending, or while all running threads are blocked.
type pool struct {
	// waiting is the number of threads that wait for a request, busy of those that work on one.
	waiting, busy atomic.Int32
	// done is the number of answered requests, for the watchdog and the supervisor. metric counts
	// them, too.
	done, metric *atomic.Uint64
	// wakeup wakes a parked thread. ended is closed when the connection ends.
	wakeup chan struct{}
	ended  chan struct{}
	once   sync.Once
	// alarm starts the watchdog; watched is true while it runs.
	alarm   chan struct{}
	watched atomic.Bool
}

func newPool(done, metric *atomic.Uint64) *pool {
	return &pool{
		done: done, metric: metric, wakeup: make(chan struct{}, 1), ended: make(chan struct{}),
		alarm: make(chan struct{}, 1),
	}
}

// park blocks until the thread is needed. It returns false if the connection has ended.
func (p *pool) park() bool {
	select {
	case <-p.wakeup:
		return true
	case <-p.ended:
		return false
	}
}

func (p *pool) wake() {
	select {
	case p.wakeup <- struct{}{}:
	default:
	}
}

func (p *pool) shutdown() { p.once.Do(func() { close(p.ended) }) }

// received records that a thread works on a request, and starts the watchdog if no thread waits for
// the next one.
func (p *pool) received() {
	p.busy.Add(1)
	if p.waiting.Add(-1) == 0 && !p.watched.Load() && p.watched.CompareAndSwap(false, true) {
		p.alarm <- struct{}{}
	}
}

func (p *pool) answered() {
	p.busy.Add(-1)
	p.done.Add(1)
	p.metric.Add(1)
}

// watch runs the watchdog on each alarm until the connection ends.
func (p *pool) watch() {
	for {
		select {
		case <-p.alarm:
		case <-p.ended:
			return
		}
		for watched := true; watched; {
			p.watchdog()
			p.watched.Store(false)
			// A thread that received a request before the Store has sent no alarm.
			watched = p.waiting.Load() == 0 && p.watched.CompareAndSwap(false, true)
		}
	}
}

// watchdog wakes a thread in each period in which no thread waited and no request was answered.
func (p *pool) watchdog() {
	last := p.done.Load()
	for idle := 0; idle < idleRounds; idle++ {
		time.Sleep(watchInterval)
		done := p.done.Load()
		if p.waiting.Load() == 0 && done == last {
			p.wake()
			idle = 0
		}
		last = done
	}
}
