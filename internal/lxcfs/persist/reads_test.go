package persist

import (
	"strings"
	"testing"
)

// TestKeptReadsAreBounded keeps more than there is room for: an overwritten content is not confused
// with another.
func TestKeptReadsAreBounded(t *testing.T) {
	k := NewReads()
	last := uint64(1 << 32)
	add := func() uint64 {
		last++
		return last
	}
	long := []byte(strings.Repeat("y", 100<<10))
	first := add()
	k.Keep(first, []byte("first"), 1, false)
	for range ringSize/len(long) + 2 {
		k.Keep(add(), long, 1, false)
	}
	if length, text, _ := k.Find(first, nil); length != 5 || text != nil {
		t.Errorf("the oldest text is %.20q, %d bytes", text, length)
	}
	all := add()
	k.Keep(all, long, len(long), false)
	if length, text, _ := k.Find(all, nil); length != uint64(len(long)) || text != nil {
		t.Errorf("file read at once: %.20q, %d bytes", text, length)
	}
	tooLong := add()
	k.Keep(tooLong, make([]byte, maxContent+1), 1, false)
	if length, text, _ := k.Find(tooLong, nil); length != maxContent+1 || text != nil {
		t.Errorf("content that is too long: %d bytes of %d", len(text), length)
	}
	for _, number := range []uint64{0, first + 1<<32, MaxFiles + 1, ^uint64(0)} {
		if length, _, _ := k.Find(number, nil); length != 0 {
			t.Errorf("unknown file %#x is found", number)
		}
	}
	none := new(Reads)
	none.Keep(first, long, 1, false)
	none.Forget(first)
	if length, _, _ := none.Find(first, nil); length != 0 || none.Places() != nil {
		t.Error("something is kept without memory")
	}
}
