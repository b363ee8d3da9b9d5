package lxcfs

import (
	"strings"
	"testing"

	"palisade/internal/lxcfs/container"
)

func TestHandles(t *testing.T) {
	hs := newHandles()
	a, b := hs.add(idMeminfo, 0, nil), hs.add(idMeminfo, 0, nil)
	if a == b || hs.get(a).h == nil || hs.get(b).h == nil || hs.get(a) == hs.get(b) {
		t.Fatalf("handles %#x and %#x are not two", a, b)
	}
	hs.keep(hs.get(a), a, []byte("0123456789"), 10)
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
			got, ok := hs.get(a).appendKept([]byte("x"), tt.offset, tt.size)
			if !ok || string(got) != "x"+tt.want {
				t.Errorf("got %q, %v; want %q", got, ok, "x"+tt.want)
			}
		})
	}
	if _, ok := hs.get(b).appendKept(nil, 0, 1); ok {
		t.Error("a handle that was not read has a snapshot")
	}
	hs.remove(a)
	if hs.get(a).h != nil || hs.kept.Load() != 0 {
		t.Errorf("a removed handle is there, or its %d bytes are", hs.kept.Load())
	}
	for _, number := range []uint64{0, b + 1, ^uint64(0)} {
		if hs.get(number).h != nil {
			t.Errorf("handle %#x of nobody is there", number)
		}
		hs.remove(number)
	}
	if c := hs.add(idMeminfo, 0, nil); hs.get(c).h == nil {
		t.Error("no handle after one was removed")
	} else if _, ok := hs.get(c).appendKept(nil, 0, 1); ok {
		t.Error("a new handle has the snapshot of an old one")
	}
}

func TestHandlesAreBounded(t *testing.T) {
	hs := newHandles()
	for i := range maxHandles {
		if hs.add(idMeminfo, 0, new(container.Principal)) == 0 {
			t.Fatalf("no handle below the bound, but %d", i)
		}
	}
	if number := hs.add(idMeminfo, 0, new(container.Principal)); number != 0 || hs.get(number).h != nil {
		t.Errorf("handle %#x beyond the bound", number)
	}
	h := hs.get(hs.epoch | 1)
	text := []byte(strings.Repeat("x", maxKept/4))
	for i := range uint64(8) {
		hs.keep(hs.get(hs.epoch|(i+1)), hs.epoch|(i+1), text, len(text))
	}
	if kept := hs.kept.Load(); kept > maxKept {
		t.Errorf("%d bytes are kept, more than %d", kept, maxKept)
	}
	if _, ok := h.appendKept(nil, 0, 1); !ok {
		t.Error("the first snapshot is lost")
	}
	if _, ok := hs.get(hs.epoch|8).appendKept(nil, 0, 1); ok {
		t.Error("the last snapshot is kept, beyond the bound")
	}
	for i := range uint64(maxHandles) {
		hs.remove(hs.epoch | (i + 1))
	}
	if kept := hs.kept.Load(); kept != 0 {
		t.Errorf("%d bytes are kept of no handle", kept)
	}
}

// TestHandlesAreShared has one container open files without end: others have handles all the same.
func TestHandlesAreShared(t *testing.T) {
	hs := newHandles()
	open := func(who *container.Principal) (numbers []uint64) {
		for {
			number := hs.add(idMeminfo, 0, nil)
			if number == 0 {
				number = hs.add(idMeminfo, 0, who)
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
	// One that is closed, of those that are scarce, is the container's to open again, and nobody else's.
	hs.remove(numbers[len(numbers)-1])
	if hs.add(idMeminfo, 0, other) != 0 || hs.add(idMeminfo, 0, greedy) == 0 || hs.add(idMeminfo, 0, greedy) != 0 {
		t.Error("a handle is counted to somebody else")
	}
	// One that is not scarce is nobody's.
	for _, number := range numbers[:2*maxScarce+1] {
		hs.remove(number)
	}
	if hs.add(idMeminfo, 0, nil) == 0 {
		t.Error("no handle for anybody, though there are enough")
	}
}
