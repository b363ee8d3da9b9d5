package fusedev

import "encoding/binary"

// LeaveRequests makes the slot of each thread that has read a file look as if the process had ended just after it gave the answer, and
// tells how many there are.
func (s *Session) LeaveRequests() (n int) {
	for i := range s.clones {
		if in := s.slot(i)[requestAt:]; u32(in, 0) == 0 && u32(in, 4) == opRead {
			binary.NativeEndian.PutUint32(in, readInSize)
			n++
		}
	}
	return n
}

// SetVersion makes the session look as if that version of this program had made it.
func (s *Session) SetVersion(version uint32) {
	binary.NativeEndian.PutUint32(s.mem[versionAt:], version)
}
