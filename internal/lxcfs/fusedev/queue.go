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
	free *slot // a list
	// requests has the requests of each class, turns the classes that have some.
	requests map[uint64][]*slot
	turns    []uint64
}

// newQueue returns a queue with the requests that earlier processes have queued.
func newQueue(session *Session, classOf func(*Request, uint64) uint64) *queue {
	q := &queue{session: session, classOf: classOf, requests: make(map[uint64][]*slot)}
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

func (q *queue) push(s *slot, class uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.requests[class]) == 0 {
		q.turns = append(q.turns, class)
	}
	q.requests[class] = append(q.requests[class], s)
	q.length.Add(1)
}

// pop removes the first request of the class whose turn it is, and returns nil if there is none.
func (q *queue) pop() *slot {
	if q.length.Load() == 0 {
		return nil
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.turns) == 0 {
		return nil
	}
	class := q.turns[0]
	q.turns = q.turns[1:]
	waiting := q.requests[class]
	if len(waiting) > 1 {
		q.requests[class] = waiting[1:]
		q.turns = append(q.turns, class)
	} else {
		delete(q.requests, class)
	}
	q.length.Add(-1)
	return waiting[0]
}
