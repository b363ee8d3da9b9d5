package fusedev

import (
	"encoding/binary"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"palisade/internal/linux/sys"
)

// TestQueue checks the order in which requests are served: that of arrival in each class, and the
// classes in turn.
func TestQueue(t *testing.T) {
	session := &Session{mem: make([]byte, headerSize)}
	q := newQueue(session, nil)
	push := func(requests ...string) {
		for _, r := range requests {
			s := newSlot(sys.File{}, make([]byte, slotSize))
			copy(s.in, r)
			q.push(s, uint64(r[0]))
		}
	}
	pop := func(n int) (order string) {
		for range n {
			s := q.pop()
			if s == nil {
				return order + "none"
			}
			order += fmt.Sprintf("%s ", s.in[:2])
			q.release(s)
		}
		return order
	}
	push("a1", "a2", "a3", "a4", "b1")
	if got, want := pop(3), "a1 b1 a2 "; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	push("c1", "b2", "b3")
	if got, want := pop(6), "a3 c1 b2 a4 b3 none"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	push("b4")
	if got, want := pop(2), "b4 none"; got != want || q.length.Load() != 0 {
		t.Errorf("got %q, want %q; %d are left", got, want, q.length.Load())
	}
}

// TestQueuedIsNotOld answers a queued request by the thread without a clone, long after the start:
// the watchdog must not take it for one that began then.
func TestQueuedIsNotOld(t *testing.T) {
	pool, err := newPool(new(atomic.Uint64), new(atomic.Uint64))
	if err != nil {
		t.Fatal(err)
	}
	c := &Conn{
		start: time.Now().Add(-time.Hour), handler: readText{}, pool: pool,
		queue: newQueue(&Session{mem: make([]byte, headerSize)}, nil),
	}
	dev, err := sys.OpenReadWrite("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	s := newSlot(dev, make([]byte, slotSize))
	binary.NativeEndian.PutUint32(s.in[4:], opRead)
	s.n = readInSize
	answering := newThread(c, nil)
	pool.begin()
	answering.answer(s)
	if began := time.Duration(answering.since.Load()); began < time.Hour {
		t.Errorf("the request began %v after the start, want more than an hour", began)
	}
}
