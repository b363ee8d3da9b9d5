package fusedev

import "palisade/internal/linux/sys"

// followEvery is the number of files that a reader opens in a row before the thread moves to the
// reader's CPU, and before it does so again. Readers of few files would wait longer.
const followEvery = 16

// follower moves a thread to the CPU of a reader that opens files in a loop. Requests take two to
// three times as long if both are on different CPUs, where the scheduler leaves them as long as
// these are idle. The scheduler may move either on at once: a thread that is bound to the reader's
// CPU makes it more likely that the reader moves away.
type follower struct {
	tid uint32
	// opens is the number of files that the reader has opened in a row.
	opens int
}

// opened records that the answer to an OPEN was sent.
func (f *follower) opened(r *Request, h Handler) {
	if r.TID != f.tid {
		f.tid, f.opens = r.TID, 0
	}
	f.opens++
	if f.opens%followEvery != 0 || r.TID == 0 {
		return
	}
	if cpu, ok := h.CPU(r); ok {
		sys.MoveTo(cpu) // fails if the CPU goes offline
	}
}

// paused ends the row: there was no request for a while.
func (f *follower) paused() { f.opens = 0 }
