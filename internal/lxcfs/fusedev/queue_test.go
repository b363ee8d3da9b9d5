package fusedev

import (
	"fmt"
	"testing"

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
