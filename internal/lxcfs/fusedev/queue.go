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
	handler Handler
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

func newQueue(session *Session, h Handler) *queue {
	return &queue{session: session, handler: h, requests: make(map[uint64][]*slot)}
}

// restore adds the slots that earlier processes have used, and the requests in them.
func (q *queue) restore() {
	for i := range q.session.header().used.Load() {
		if s := q.session.queuedSlot(i); s.isOld {
			q.push(s, q.classify(s))
		} else {
			q.release(s)
		}
	}
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
		q.push(s, q.classify(s))
	}
}

// classify returns the class of the request in s, or 0 after a panic; q.collecting is held.
func (q *queue) classify(s *slot) (class uint64) {
	defer func() {
		if value := recover(); value != nil {
			q.handler.Panicked(value)
			class = 0
		}
	}()
	q.request.parseHeader(s.in)
	return q.handler.Class(&q.request, handleOf(&q.request, s.in[:min(s.n, len(s.in))]))
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
