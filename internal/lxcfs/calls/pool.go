package calls

import (
	"sync/atomic"

	"palisade/internal/linux/sys"
)

// spareThreads is the number of threads that wait for events after the first one. The kernel wakes
// the one that came last, so a lone caller is always served by the same.
const spareThreads = 2

// pool handles events by threads, of which at least one waits for the next event: an event whose
// handling blocks delays no other. Filters are added with AddOnce, so that each has one thread
// at most.
type pool struct {
	*sys.Poller
	handle  func(sys.Event)
	waiting atomic.Int32
}

func newPool(handle func(sys.Event)) (*pool, error) {
	poller, err := sys.NewPoller()
	return &pool{Poller: poller, handle: handle}, err
}

// start starts one thread: most processes never get an event.
func (p *pool) start() {
	p.waiting.Add(1)
	go p.run()
}

func (p *pool) run() {
	for {
		event, err := p.WaitOne()
		if p.waiting.Add(-1) == 0 {
			p.waiting.Add(1)
			go p.run()
		}
		if err != nil {
			return // the Poller is closed
		}
		p.handle(event)
		if p.waiting.Add(1) > spareThreads {
			p.waiting.Add(-1)
			return
		}
	}
}
