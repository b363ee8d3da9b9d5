package fusedev

import (
	"encoding/binary"
	"time"
)

// LeaveRequests makes each slot whose last request was a READ look as if its process had ended
// right after the answer, and returns the number of these slots.
func (s *Session) LeaveRequests() (n int) {
	for i := range len(s.clones) + int(s.header().used.Load()) {
		if in := s.slot(i)[requestAt:]; u32(in, 0) == 0 && u32(in, 4) == opRead {
			binary.NativeEndian.PutUint32(in, readInSize)
			n++
		}
	}
	return n
}

// Downgrade makes the session, which no process serves, one of an earlier version.
func (s *Session) Downgrade(version uint32) error {
	init := s.init()
	s.memory.Close()
	s.collector.Close()
	return s.newMemory(init, version)
}

// SetVersion overwrites the version in the session's memory.
func (s *Session) SetVersion(version uint32) { s.header().version = version }

// Queued returns the number of queued requests.
func (s *Session) Queued() (n int) {
	for i := range s.header().used.Load() {
		if s.queuedSlot(i).isOld {
			n++
		}
	}
	return n
}

// SetPause sets the time without a request after which a reader no longer opens files in a row.
func (c *Conn) SetPause(d time.Duration) { c.pause = d }

// Collect moves the requests that wait to the queue, and returns the number of those in it.
func (c *Conn) Collect() int {
	c.queue.collect()
	return int(c.queue.length.Load())
}
