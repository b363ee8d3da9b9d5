package lxcfs

import (
	"fmt"
	"strings"
	"testing"

	"palisade/internal/lxcfs/fusedev"
)

// TestKeptReads has processes follow one another, each of which leaves more files half read.
func TestKeptReads(t *testing.T) {
	k := &keptReads{mem: make([]byte, keptReadsSize)}
	const processes, files = 20, 50
	text := func(process, file int) []byte {
		return fmt.Appendf(nil, "%d %d %s", process, file, strings.Repeat("x", 3000))
	}
	var numbers [processes][files]uint64
	for p := range processes {
		hs := newHandles()
		hs.goOn(k)
		for f := range files {
			numbers[p][f] = hs.add(idMeminfo, 0, nil)
			k.keep(numbers[p][f], text(p, f), 1, false)
		}
	}
	for p := range processes {
		for f := range files {
			if length, got, _ := k.find(numbers[p][f], nil); string(got) != string(text(p, f)) || length != uint64(len(got)) {
				t.Fatalf("file %d of process %d: %d %.20q", f, p, length, got)
			}
		}
	}
}

// TestAdopted has a process go on with a file that an earlier one has opened, in each state in which that may have left it.
func TestAdopted(t *testing.T) {
	const text, shorter = "0123456789", "012345"
	read := func(hs *handles, number uint64, text string, got int) {
		hs.keep(hs.get(number), number, []byte(text), got)
	}
	for _, c := range []struct {
		name string
		// first and second are what the processes do that opens the file, and that comes after it.
		first, second func(hs *handles, number uint64)
		// length is that of the text, 0 where nobody knows it; rest is what is kept of it from offset 4 on.
		length uint64
		rest   string
	}{
		{"opened", nil, nil, 0, ""},
		{"read in part", func(hs *handles, number uint64) { read(hs, number, text, 4) }, nil, 10, "456789"},
		{"read", func(hs *handles, number uint64) { read(hs, number, text, 10) }, nil, 10, ""},
		{"read by the second", nil, func(hs *handles, number uint64) { read(hs, number, shorter, 6) }, 6, ""},
		{"read in part by the second", nil, func(hs *handles, number uint64) { read(hs, number, shorter, 4) }, 6, "45"},
		{
			"read by both", func(hs *handles, number uint64) { read(hs, number, text, 4) },
			func(hs *handles, number uint64) { read(hs, number, shorter, 4) }, 6, "45",
		},
		{
			"read by the first, looked at by the second", func(hs *handles, number uint64) { read(hs, number, text, 4) },
			func(hs *handles, number uint64) { hs.get(number).appendKept(nil, 4, 1) }, 10, "456789",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := &keptReads{mem: make([]byte, keptReadsSize)}
			next := func() *handles {
				hs := newHandles()
				hs.goOn(k)
				return hs
			}
			first := next()
			number := first.add(idMeminfo, 0, nil)
			if c.first != nil {
				c.first(first, number)
			}
			if c.second != nil {
				c.second(next(), number)
			}
			hs := next()
			if got, ok := hs.get(number).appendKept(nil, 4, 10); ok != (c.rest != "") || string(got) != c.rest {
				t.Errorf("the rest is %q, %v; want %q", got, ok, c.rest)
			}
			if got, ok := hs.get(number).appendKept(nil, max(c.length, 1), 10); ok != (c.length > 0) || len(got) > 0 {
				t.Errorf("at the end there is %q, %v", got, ok)
			}
			hs.remove(number)
			if length, _, _ := k.find(number, nil); length != 0 || len(hs.adopted) != 0 || hs.kept.Load() != 0 {
				t.Errorf("of the closed file %d bytes are known, %d kept", length, hs.kept.Load())
			}
		})
	}
}

// TestDoubtful has requests come that an earlier process may have answered, and given the number to another file: that one's reader goes
// on with its text.
func TestDoubtful(t *testing.T) {
	f, _ := newMetered(t)
	k := &keptReads{mem: make([]byte, keptReadsSize)}
	first := newHandles()
	first.goOn(k)
	number := first.add(idMeminfo, 0, nil)
	first.keep(first.get(number), number, []byte("text"), 2)
	f.handles.goOn(k)
	request := fusedev.Request{Node: idUptime, MaybeAnswered: true}
	if text, errno := f.Read(&request, number, 0, 4096, nil); errno != 0 || len(text) == 0 {
		t.Errorf("read: %q, %v", text, errno)
	}
	if text, errno := f.Rescue(&request, number, 0, 1, nil); errno != 0 || len(text) == 0 {
		t.Errorf("rescue: %q, %v", text, errno)
	}
	f.Release(&request, number)
	if text, ok := f.handles.get(number).appendKept(nil, 2, 10); !ok || string(text) != "xt" {
		t.Errorf("the other file goes on with %q, %v", text, ok)
	}
}

// TestKeptReadsAreBounded keeps more than there is room for: what is not there any more is not taken for something else.
func TestKeptReadsAreBounded(t *testing.T) {
	k := &keptReads{mem: make([]byte, keptReadsSize)}
	hs := newHandles()
	long := []byte(strings.Repeat("y", 100<<10))
	first := hs.add(idMeminfo, 0, nil)
	k.keep(first, []byte("first"), 1, false)
	for range ringSize/len(long) + 2 {
		k.keep(hs.add(idMeminfo, 0, nil), long, 1, false)
	}
	if length, text, _ := k.find(first, nil); length != 5 || text != nil {
		t.Errorf("the oldest text is %.20q, %d bytes", text, length)
	}
	all := hs.add(idMeminfo, 0, nil)
	k.keep(all, long, len(long), false)
	if length, text, _ := k.find(all, nil); length != uint64(len(long)) || text != nil {
		t.Errorf("of a file that was read at once there is %.20q, %d bytes", text, length)
	}
	tooLong := hs.add(idMeminfo, 0, nil)
	k.keep(tooLong, make([]byte, maxRingText+1), 1, false)
	if length, text, _ := k.find(tooLong, nil); length != maxRingText+1 || text != nil {
		t.Errorf("a text that is too long: %d bytes of %d", len(text), length)
	}
	for _, number := range []uint64{0, first + 1<<32, maxHandles + 1, ^uint64(0)} {
		if length, _, _ := k.find(number, nil); length != 0 {
			t.Errorf("something is known of %#x, which is nobody's", number)
		}
	}
	none := new(keptReads)
	none.keep(first, long, 1, false)
	none.forget(first)
	if length, _, _ := none.find(first, nil); length != 0 || none.places() != nil {
		t.Error("without memory something is kept")
	}
}
