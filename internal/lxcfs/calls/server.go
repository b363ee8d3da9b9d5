// Package calls answers system calls of containers: sysinfo(2) and others, which a seccomp filter
// passes on to a descriptor (seccomp_unotify(2)).
//
// Runtimes send the descriptors of their containers' filters to the Registry in the supervisor,
// which passes them to the worker and to the writer. The worker (Server) receives the calls and
// computes the answers. The writer (Write) alone can write to the memory of callers. It can block
// for ever, since a container chooses what is mapped there. All that is under way is in a memory
// that both share with the supervisor, so that each of them can be killed at any time.
package calls

import (
	"sync/atomic"

	"palisade/internal/linux/sys"
)

// Handler computes answers. Its methods are called concurrently.
type Handler interface {
	// AnswerCall returns the answer to a call of a thread with the filter, a number below MaxFilters.
	// It may append the data to dst. It returns false for a call that the kernel must execute itself.
	AnswerCall(filter int, call *sys.NotifiedCall, dst []byte) (Answer, bool)
	// Panicked is called with the value of a panic of AnswerCall.
	Panicked(value any)
}

// Answer is the answer to a call: the kernel returns Value to the caller, after Data was written to
// Address in its memory. If it cannot be written, the kernel executes the call instead.
type Answer struct {
	Value   int64
	Address uint64
	Data    []byte
}

// maxCrashes is the number of workers that crash before the kernel must execute the call itself.
const maxCrashes = 3

// Tokens of files that are not filters, whose tokens are their slots.
const (
	feedToken = MaxFilters + iota
	eventToken
)

// Server receives calls and computes the answers.
type Server struct {
	shared
	pool    *pool
	handler Handler
	feed    sys.File
	filters [MaxFilters]atomic.Pointer[sys.File]
}

// Open returns the Server for the files that a worker got from Registry.NewFeed, or nil if it got
// none.
func Open(files []sys.NamedFile, h Handler) (*Server, error) {
	s := &Server{handler: h, feed: find(files, feedName)}
	if !s.feed.IsOpen() {
		return nil, nil
	}
	var err error
	if s.shared, err = openShared(files); err != nil {
		return nil, err
	}
	if s.pool, err = newPool(s.handle); err != nil {
		return nil, err
	}
	if err := s.pool.AddOnce(s.feed, sys.EventIn, feedToken); err != nil {
		return nil, err
	}
	return s, s.pool.AddEvents(s.freedEvent, eventToken)
}

// Start answers calls until the process ends. No other worker may do so. A nil Server answers none.
func (s *Server) Start() {
	if s != nil {
		s.pool.start()
	}
}

func (s *Server) handle(event sys.Event) {
	switch slot := int(event.Token); slot {
	case feedToken:
		number, filter, err := sys.ReceiveNumbered(s.feed)
		if err != nil {
			return // the supervisor has ended
		}
		if filter.IsOpen() && number < MaxFilters {
			s.add(int(number), filter)
		}
		s.pool.Rearm(s.feed, sys.EventIn, feedToken)
	case eventToken:
		for slot := s.freed.take(); slot >= 0; slot = s.freed.take() {
			if filter := s.filters[slot].Load(); filter != nil {
				s.rearm(slot, *filter)
			}
		}
	default:
		s.receive(slot, event.Events)
	}
}

// add begins to serve a filter. The last filter of the slot, if any, has no more users.
func (s *Server) add(slot int, filter sys.File) {
	if last := s.filters[slot].Swap(&filter); last != nil {
		s.pool.Remove(*last) // not closed: another thread may use it
	}
	if err := s.pool.AddOnce(filter, 0, int32(slot)); err != nil {
		return
	}
	go func() {
		s.resume(slot, filter)
		s.rearm(slot, filter)
	}()
}

func (s *Server) rearm(slot int, filter sys.File) {
	s.pool.Rearm(filter, sys.EventIn, int32(slot)) // fails if the filter was removed meanwhile
}

// resume answers the call that an earlier worker has received, if any.
func (s *Server) resume(slot int, filter sys.File) {
	switch at := &s.slots[slot]; {
	case at.id() == 0, at.answered.Load() == at.id():
	case !filter.IsWaiting(&at.call):
		at.free(at.id())
	default:
		s.answer(slot, filter)
	}
}

// receive receives a call of the filter in the slot and answers it.
func (s *Server) receive(slot int, events uint32) {
	at, filter := &s.slots[slot], s.filters[slot].Load()
	switch {
	case filter == nil:
		return
	case events&sys.EventIn == 0: // a hang-up
		if filter.HasHungUp() && s.filters[slot].CompareAndSwap(filter, nil) {
			filter.Close()
		}
		return
	case at.id() != 0:
		at.isWanted.Store(1)
		if at.id() != 0 || !at.isWanted.CompareAndSwap(1, 0) {
			return // the writer sets the slot's bit in freed
		}
	}
	if err := filter.ReceiveCall(&at.call); err == nil {
		s.answer(slot, *filter)
	}
	s.rearm(slot, *filter)
}

// answer computes the answer to the call in the slot, and passes it to the writer.
func (s *Server) answer(slot int, filter sys.File) {
	at := &s.slots[slot]
	id := at.id()
	at.begun.Store(id)
	if at.crashes.Load() >= maxCrashes || !s.compute(slot) {
		filter.Continue(&at.call) // fails if the thread has died
		at.free(id)
		return
	}
	at.answered.Store(id)
	s.ready.set(slot)
	s.readyEvent.Notify()
}

// compute sets the slot's answer, and returns false if the kernel must execute the call.
func (s *Server) compute(slot int) (ok bool) {
	at := &s.slots[slot]
	defer func() {
		if value := recover(); value != nil {
			s.handler.Panicked(value)
			ok = false
		}
	}()
	a, ok := s.handler.AnswerCall(slot, &at.call, at.data[:0])
	if !ok || len(a.Data) > maxData {
		return false
	}
	at.value, at.address, at.size = a.Value, a.Address, uint32(copy(at.data[:], a.Data))
	return true
}
