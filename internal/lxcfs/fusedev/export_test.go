package fusedev

import "encoding/binary"

// LeaveRequests makes each slot whose last request was a READ look as if its process had ended
// right after the answer, and returns the number of these slots.
func (s *Session) LeaveRequests() (n int) {
	for i := range s.clones {
		if in := s.slot(i)[requestAt:]; u32(in, 0) == 0 && u32(in, 4) == opRead {
			binary.NativeEndian.PutUint32(in, readInSize)
			n++
		}
	}
	return n
}

// SetVersion overwrites the version in the session's memory.
func (s *Session) SetVersion(version uint32) {
	s.header().version = version
}
