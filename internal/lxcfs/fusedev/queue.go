package fusedev

import (
	"errors"
	"sync"
	"sync/atomic"
	"syscall"
)

// queue holds requests that would wait in the kernel, which passes them on in the order of arrival:
// a container with many readers would delay those of others. The requests of each class are served
// in their order, the classes in turn.
type queue struct {
	session *Session
	classOf func(r *Request, handle uint64) uint64
	length  atomic.Int32

	// collecting is held to read from the collector, into request.
	collecting sync.Mutex
	request    Request

	mu   sync.Mutex
	free *slot
	// turn is the class whose turn it is, in a ring of those that have requests.
	turn   *class
	byID   map[uint64]*class
	unused *class // a list
}

// class has the requests of a class.
type class struct {
	id          uint64
	first, last *slot
	next, prev  *class
}

// newQueue returns a queue with the requests that earlier processes have queued.
func newQueue(session *Session, classOf func(*Request, uint64) uint64) *queue {
	q := &queue{session: session, classOf: classOf, byID: make(map[uint64]*class)}
	for i := range session.header().used.Load() {
		if s := session.queuedSlot(i); s.isOld {
			q.push(s, 0)
		} else {
			q.release(s)
		}
	}
	return q
}

// release frees a slot.
func (q *queue) release(s *slot) {
	q.mu.Lock()
	defer q.mu.Unlock()
	s.next, q.free = q.free, s
}

// takeFree returns a free slot, or nil if there is none; q.collecting is held.
func (q *queue) takeFree() *slot {
	q.mu.Lock()
	defer q.mu.Unlock()
	if s := q.free; s != nil {
		q.free = s.next
		return s
	}
	h := q.session.header()
	i := h.used.Load()
	if i == h.queued {
		return nil
	}
	h.used.Store(i + 1)
	return q.session.queuedSlot(i)
}

// collect moves the requests that wait in the kernel to the queue, as long as it has room. It does
// nothing while another thread does it.
func (q *queue) collect() {
	if !q.session.collector.IsOpen() || !q.collecting.TryLock() {
		return
	}
	defer q.collecting.Unlock()
	for {
		s := q.takeFree()
		if s == nil {
			return
		}
		var err error
		if s.n, err = s.dev.Read(s.in); err != nil || s.n < inHeaderSize {
			s.clear()
			q.release(s)
			if errors.Is(err, syscall.ENOENT) {
				continue // it was interrupted before it was read
			}
			return // EAGAIN: none waits
		}
		q.request.parseHeader(s.in)
		q.push(s, q.classOf(&q.request, handleOf(&q.request, s.in[:s.n])))
	}
}

// handleOf returns the handle of a request of an open file, else 0.
func handleOf(r *Request, in []byte) uint64 {
	switch r.opcode {
	case opRead, opRelease, opPoll:
		if len(in) >= inHeaderSize+8 {
			return u64(in, inHeaderSize)
		}
	}
	return 0
}

func (q *queue) push(s *slot, id uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.length.Add(1)
	s.next = nil
	if c := q.byID[id]; c != nil {
		c.last.next, c.last = s, s
		return
	}
	c := q.unused
	if c == nil {
		c = new(class)
	} else {
		q.unused = c.next
	}
	*c = class{id: id, first: s, last: s, next: c, prev: c}
	q.byID[id] = c
	if q.turn == nil {
		q.turn = c
		return
	}
	c.next, c.prev = q.turn, q.turn.prev // the last in turn
	c.prev.next, c.next.prev = c, c
}

// pop removes the first request of the class whose turn it is, and returns nil if there is none.
func (q *queue) pop() *slot {
	if q.length.Load() == 0 {
		return nil
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	c := q.turn
	if c == nil {
		return nil
	}
	q.length.Add(-1)
	s := c.first
	c.first, q.turn = s.next, c.next
	if c.first == nil {
		delete(q.byID, c.id)
		c.prev.next, c.next.prev = c.next, c.prev
		if q.turn == c {
			q.turn = nil
		}
		c.next, q.unused = q.unused, c
	}
	return s
}
