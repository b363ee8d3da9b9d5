package openfile

import (
	"strings"
	"testing"
	"time"

	"palisade/internal/lxcfs/container"
)

// node is the node of the files in the tests.
const node = 4

func TestHandles(t *testing.T) {
	hs := NewTable()
	a, b := hs.Add(node, 0, nil), hs.Add(node, 0, nil)
	if a == b || !hs.Get(a).HasHandle() || !hs.Get(b).HasHandle() || hs.Get(a) == hs.Get(b) {
		t.Fatalf("handles %#x and %#x are not two", a, b)
	}
	hs.Get(a).Keep([]byte("0123456789"), 10)
	tests := []struct {
		name   string
		offset uint64
		size   int
		want   string
	}{
		{"all", 0, 100, "0123456789"},
		{"a part", 3, 4, "3456"},
		{"the end", 8, 100, "89"},
		{"at the end", 10, 5, ""},
		{"beyond the end", 1 << 62, 5, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, ok := hs.Get(a).AppendKept([]byte("x"), tt.offset, tt.size)
			if !ok || string(got) != "x"+tt.want {
				t.Errorf("got %q, %v; want %q", got, ok, "x"+tt.want)
			}
		})
	}
	if _, ok := hs.Get(b).AppendKept(nil, 0, 1); ok {
		t.Error("a handle that was not read has a snapshot")
	}
	hs.Remove(a)
	if hs.Get(a).HasHandle() || hs.KeptBytes() != 0 {
		t.Errorf("a removed handle is there, or its %d bytes are", hs.KeptBytes())
	}
	for _, number := range []uint64{0, b + 1, ^uint64(0)} {
		if hs.Get(number).HasHandle() {
			t.Errorf("unknown handle %#x exists", number)
		}
		hs.Remove(number)
	}
	if c := hs.Add(node, 0, nil); !hs.Get(c).HasHandle() {
		t.Error("no handle after one was removed")
	} else if _, ok := hs.Get(c).AppendKept(nil, 0, 1); ok {
		t.Error("a new handle has the snapshot of an old one")
	}
}

func TestHandlesAreBounded(t *testing.T) {
	hs := NewTable()
	for i := range maxHandles {
		if hs.Add(node, 0, new(container.Principal)) == 0 {
			t.Fatalf("no handle below the bound, but %d", i)
		}
	}
	if number := hs.Add(node, 0, new(container.Principal)); number != 0 || hs.Get(number).HasHandle() {
		t.Errorf("handle %#x beyond the bound", number)
	}
	h := hs.Get(hs.epoch | 1)
	text := []byte(strings.Repeat("x", maxKept/4))
	for i := range uint64(8) {
		hs.Get(hs.epoch|(i+1)).Keep(text, len(text))
	}
	if kept := hs.KeptBytes(); kept > maxKept {
		t.Errorf("%d bytes are kept, more than %d", kept, maxKept)
	}
	if _, ok := h.AppendKept(nil, 0, 1); !ok {
		t.Error("the first snapshot is lost")
	}
	if _, ok := hs.Get(hs.epoch|8).AppendKept(nil, 0, 1); ok {
		t.Error("the last snapshot is kept, beyond the bound")
	}
	for i := range uint64(maxHandles) {
		hs.Remove(hs.epoch | (i + 1))
	}
	if kept := hs.KeptBytes(); kept != 0 {
		t.Errorf("%d bytes are kept of no handle", kept)
	}
}

// TestHandlesAreShared opens as many files as possible in one container: others still get handles.
func TestHandlesAreShared(t *testing.T) {
	hs := NewTable()
	open := func(who *container.Principal) (numbers []uint64) {
		for {
			number := hs.Add(node, 0, nil)
			if number == 0 {
				number = hs.Add(node, 0, who)
			}
			if number == 0 {
				return numbers
			}
			numbers = append(numbers, number)
		}
	}
	greedy, other := new(container.Principal), new(container.Principal)
	numbers := open(greedy)
	if len(numbers) != freeForAll+maxScarce {
		t.Errorf("one container has %d handles, want %d", len(numbers), freeForAll+maxScarce)
	}
	if got := len(open(other)); got != maxScarce {
		t.Errorf("another has %d, want %d", got, maxScarce)
	}
	// A scarce handle that was closed can only be opened by the same container.
	hs.Remove(numbers[len(numbers)-1])
	if hs.Add(node, 0, other) != 0 || hs.Add(node, 0, greedy) == 0 || hs.Add(node, 0, greedy) != 0 {
		t.Error("a handle is counted for another container")
	}
	// Other handles are counted for no container.
	for _, number := range numbers[:2*maxScarce+1] {
		hs.Remove(number)
	}
	if hs.Add(node, 0, nil) == 0 {
		t.Error("no handle, though there are enough")
	}
}

// TestPreparedContent prepares a content for a thread: the first read of its process gets it, for a
// limited time.
func TestPreparedContent(t *testing.T) {
	isPeer := func(tid, other uint32) bool { return tid/10 == other/10 }
	for _, tt := range []struct {
		name   string
		reader uint32
		age    time.Duration
		want   bool
	}{
		{"the thread", 11, 0, true},
		{"its process", 12, 0, true},
		{"another process", 21, 0, false},
		{"later", 11, preparedTime, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			table := NewTable()
			number := table.Add(node, 11, nil)
			file := table.LastOpened(node, 12, isPeer)
			if file != table.Get(number) {
				t.Fatalf("last opened is %#x, want %#x", file.number, number)
			}
			file.Prepare([]byte("content"), 11)
			table.began = table.began.Add(-tt.age)
			if got := file.Length(); got != 7 && tt.age == 0 || got != 0 && tt.age > 0 {
				t.Errorf("length %d", got)
			}
			if got := file.ClaimPrepared(100, tt.reader, isPeer); got != tt.want {
				t.Errorf("claimed: %v, want %v", got, tt.want)
			}
			if _, ok := file.AppendKept(nil, 0, 100); ok != tt.want {
				t.Errorf("kept: %v, want %v", ok, tt.want)
			}
			stale := table.Get(number).Invalidate()
			if file.Length() != 0 || !stale.Lock() {
				t.Error("the earlier request still has the file")
			} else {
				stale.Unlock()
			}
		})
	}
}
