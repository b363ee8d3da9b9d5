package lxcfs

import (
	"fmt"
	"strings"
	"testing"
)

// TestKeptReads has processes follow one another, each of which leaves more files half read.
func TestKeptReads(t *testing.T) {
	k := keptReads{mem: make([]byte, keptReadsSize)}
	const processes, files = 20, 50
	text := func(process, file int) []byte {
		return fmt.Appendf(nil, "%d %d %s", process, file, strings.Repeat("x", 3000))
	}
	var numbers [processes][files]uint64
	for p := range processes {
		hs := newHandles()
		hs.goOn(k)
		for f := range files {
			numbers[p][f] = hs.add(owner{})
			k.keep(numbers[p][f], text(p, f), 1)
		}
	}
	for p := range processes {
		for f := range files {
			if length, got, ok := k.find(numbers[p][f]); !ok || string(got) != string(text(p, f)) || length != uint64(len(got)) {
				t.Fatalf("file %d of process %d: %d %v %.20q", f, p, length, ok, got)
			}
		}
	}
}

// TestReleasedTwice has a process end a file whose release the one before had answered already, and given the number to another:
// that one's reader goes on.
func TestReleasedTwice(t *testing.T) {
	k := keptReads{mem: make([]byte, keptReadsSize)}
	first, next := newHandles(), newHandles()
	first.goOn(k)
	number := first.add(owner{})
	first.remove(number)
	if again := first.add(owner{}); again != number {
		t.Fatalf("the next file is %#x, not %#x: the test shows nothing", again, number)
	}
	first.keep(first.get(number), number, []byte("text"), 2)
	next.goOn(k)
	next.remove(number)
	if _, text, ok := k.find(number); !ok || string(text) != "text" {
		t.Errorf("of the other file there is %q, %v", text, ok)
	}
}

// TestKeptReadsAreBounded keeps more than there is room for: what is not there any more is not taken for something else.
func TestKeptReadsAreBounded(t *testing.T) {
	k := keptReads{mem: make([]byte, keptReadsSize)}
	hs := newHandles()
	long := []byte(strings.Repeat("y", 100<<10))
	first := hs.add(owner{})
	k.keep(first, []byte("first"), 1)
	for range ringSize/len(long) + 2 {
		k.keep(hs.add(owner{}), long, 1)
	}
	if length, text, ok := k.find(first); !ok || length != 5 || text != nil {
		t.Errorf("the oldest text is %.20q, %d bytes, %v", text, length, ok)
	}
	all := hs.add(owner{})
	k.keep(all, long, len(long))
	if length, text, ok := k.find(all); !ok || length != uint64(len(long)) || text != nil {
		t.Errorf("of a file that was read at once there is %.20q, %d bytes, %v", text, length, ok)
	}
	tooLong := hs.add(owner{})
	k.keep(tooLong, make([]byte, maxRingText+1), 1)
	if _, text, ok := k.find(tooLong); !ok || text != nil {
		t.Errorf("a text that is too long: %d bytes, %v", len(text), ok)
	}
	for _, number := range []uint64{0, first + 1<<32, maxHandles + 1, ^uint64(0)} {
		if _, _, ok := k.find(number); ok {
			t.Errorf("something is known of %#x, which is nobody's", number)
		}
	}
	none := keptReads{}
	none.keep(first, long, 1)
	if _, _, ok := none.find(first); ok || none.places() != nil {
		t.Error("without memory something is kept")
	}
}
