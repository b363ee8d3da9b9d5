package fusedev

import (
	"math"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"palisade/internal/linux/sys"
)

const (
	// backlog is the number of queued requests for which another thread is woken.
	backlog = 8
	// watchInterval is the time after which the watchdog looks at a request.
	watchInterval = 5 * time.Millisecond
)

// pool controls how many threads wait for requests. One is best as long as it keeps up: the kernel
// wakes waiting threads in turn, so that each of two would serve every second request of a reader
// on another CPU with cold caches, which made each read 1.5 times as slow. More threads are woken
// while requests are queued, up to half the number of CPUs and one, since readers need the others,
// or while all running threads are blocked.
type pool struct {
	// waiting is the number of threads that wait for a request, busy of those that work on one,
	// stuck of those whose request rescue has answered.
	waiting, busy, stuck atomic.Int32
	maxRunning           int
	// minWait is the duration from which on a read had to wait for its request.
	minWait time.Duration
	// done is the number of answered requests, for the watchdog and the supervisor. metric counts
	// them, too.
	done, metric *atomic.Uint64
	// wakeup wakes a parked thread. ended is closed when the connection ends.
	wakeup chan struct{}
	// queueWakeup wakes the thread without a clone.
	queueWakeup chan struct{}
	ended       chan struct{}
	once        sync.Once
	// timer wakes the watchdog while watched is true. A timer of package time, or a channel, would
	// make the thread that has received a request wake another one first, which takes as long as the
	// request on a machine that was idle.
	timer   sys.Timer
	watched atomic.Bool
}

func newPool(done, metric *atomic.Uint64) (*pool, error) {
	timer, err := sys.NewTimer()
	return &pool{
		done: done, metric: metric, timer: timer, maxRunning: max(1, runtime.NumCPU()/2),
		wakeup: make(chan struct{}, 1), queueWakeup: make(chan struct{}, 1),
		ended: make(chan struct{}),
	}, err
}

// measureWait sets minWait to several times the duration of a read that returns at once, which
// differs by machine: the kernel refuses a buffer that is too small before it looks for a request.
func (p *pool) measureWait(dev sys.File) {
	const tries, factor = 16, 10
	cheapest := time.Duration(math.MaxInt64)
	for range tries {
		begin := time.Now()
		dev.Read(make([]byte, 1))
		cheapest = min(cheapest, time.Since(begin))
	}
	p.minWait = factor * cheapest
}

// park blocks until the thread is woken. It returns false if the connection has ended.
func (p *pool) park(wakeup chan struct{}) bool {
	select {
	case <-wakeup:
		return true
	case <-p.ended:
		return false
	}
}

// mayGrow reports whether a thread that works on no request may wake another one for the queue.
func (p *pool) mayGrow() bool {
	return int(p.busy.Load()+p.waiting.Load()-p.stuck.Load()) < p.maxRunning
}

func (p *pool) wake() { send(p.wakeup) }

func send(wakeup chan struct{}) {
	select {
	case wakeup <- struct{}{}:
	default:
	}
}

// shutdown ends park and watch.
func (p *pool) shutdown() {
	p.once.Do(func() {
		close(p.ended)
		p.timer.Start(1)
	})
}

// received records that a thread has received a request.
func (p *pool) received() {
	p.begin()
	p.waiting.Add(-1)
}

// begin records that a thread works on a request, and starts the watchdog.
func (p *pool) begin() {
	p.busy.Add(1)
	p.startWatch()
}

// end records that a thread has finished a request, and whether it was answered.
func (p *pool) end(answered bool) {
	p.busy.Add(-1)
	if answered {
		p.done.Add(1)
		p.metric.Add(1)
	}
}

func (p *pool) startWatch() {
	if !p.watched.Load() && p.watched.CompareAndSwap(false, true) {
		p.timer.Start(watchInterval)
	}
}

// watch runs the watchdog until the connection ends. It sleeps while no thread works on a request.
// queued returns the number of requests that no thread works on.
func (p *pool) watch(rescue func(), queued func() int) {
	for last := p.done.Load(); ; {
		p.timer.Wait()
		select {
		case <-p.ended:
			return
		default:
		}
		p.watched.Store(false) // a request that was received before is busy
		done := p.done.Load()
		needed := p.waiting.Load() == 0 || queued() > 0
		if needed && done == last { // none of the running threads has answered
			p.wake()
			send(p.queueWakeup) // the last thread that is not stuck may wait for a request
		}
		last = done
		rescue()
		if needed || p.busy.Load() > p.stuck.Load() {
			p.startWatch()
		}
	}
}
