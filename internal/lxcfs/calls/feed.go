package calls

import (
	"sync"

	"palisade/internal/linux/sys"
)

// Feed passes the descriptors of filters to a process. A process that does not read them delays no
// other.
type Feed struct {
	registry *Registry
	socket   sys.File

	mu                 sync.Mutex
	changed            *sync.Cond
	queue              []message
	isStarted, isEnded bool
}

type message struct {
	number uint64
	filter sys.File // a duplicate, or none
}

// newFeed returns a Feed, and the socket for its process.
func newFeed(r *Registry) (*Feed, sys.File, error) {
	own, theirs, err := sys.SocketPair()
	return openFeed(r, own), theirs, err
}

func openFeed(r *Registry, socket sys.File) *Feed {
	f := &Feed{registry: r, socket: socket}
	f.changed = sync.NewCond(&f.mu)
	return f
}

// Start passes all filters to the process, and those that are added until Close. It does not block.
func (f *Feed) Start() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.isStarted && !f.isEnded {
		f.isStarted = true
		go f.run()
	}
}

// Close ends the Feed. The process must have ended. It does not block. If the process has crashed,
// this counts for the calls whose answers it was computing.
func (f *Feed) Close(hasCrashed bool) {
	if hasCrashed {
		f.registry.countCrash()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.isEnded = true
	if !f.isStarted {
		f.socket.Close()
	}
	f.changed.Signal()
}

// send queues a message. It takes ownership of the filter.
func (f *Feed) send(number uint64, filter sys.File) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.queue = append(f.queue, message{number, filter})
	f.changed.Signal()
}

// run sends messages until the Feed ends.
func (f *Feed) run() {
	f.registry.subscribe(f)
	for {
		m, ok := f.next()
		if !ok {
			break
		}
		sys.SendNumbered(f.socket, m.number, m.filter) // fails if the process has ended
		m.filter.Close()
	}
	f.registry.unsubscribe(f)
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, m := range f.queue {
		m.filter.Close()
	}
	f.queue = nil
	f.socket.Close()
}

// next returns the next message, or false if the Feed has ended.
func (f *Feed) next() (m message, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for len(f.queue) == 0 && !f.isEnded {
		f.changed.Wait()
	}
	if f.isEnded {
		return m, false
	}
	m, f.queue = f.queue[0], f.queue[1:]
	return m, true
}
