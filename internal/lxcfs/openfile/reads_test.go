package openfile

import (
	"fmt"
	"strings"
	"testing"

	"palisade/internal/lxcfs/persist"
)

// TestKeptReads runs one process after another, each of which leaves more files partly read.
func TestKeptReads(t *testing.T) {
	k := persist.NewReads()
	const processes, files = 20, 50
	text := func(process, file int) []byte {
		return fmt.Appendf(nil, "%d %d %s", process, file, strings.Repeat("x", 3000))
	}
	var numbers [processes][files]uint64
	for p := range processes {
		hs := NewTable()
		hs.Restore(k)
		for f := range files {
			numbers[p][f] = hs.Add(node, 0, nil)
			k.Keep(numbers[p][f], text(p, f), 1, false)
		}
	}
	for p := range processes {
		for f := range files {
			if length, got, _ := k.Find(numbers[p][f], nil); string(got) != string(text(p, f)) || length != uint64(len(got)) {
				t.Fatalf("file %d of process %d: %d %.20q", f, p, length, got)
			}
		}
	}
}

// TestAdopted continues with a file that an earlier process has opened, in each state in which that
// may have left it.
func TestAdopted(t *testing.T) {
	const text, shorter = "0123456789", "012345"
	read := func(hs *Table, number uint64, text string, got int) {
		hs.Get(number).Keep([]byte(text), got)
	}
	for _, c := range []struct {
		name string
		// first and second are the actions of the process that opens the file, and of the next one.
		first, second func(hs *Table, number uint64)
		// length is the length of the content, 0 if unknown; rest is what is kept from offset 4 on.
		length uint64
		rest   string
	}{
		{"opened", nil, nil, 0, ""},
		{"read in part", func(hs *Table, number uint64) { read(hs, number, text, 4) }, nil, 10, "456789"},
		{"read", func(hs *Table, number uint64) { read(hs, number, text, 10) }, nil, 10, ""},
		{"read by the second", nil, func(hs *Table, number uint64) { read(hs, number, shorter, 6) }, 6, ""},
		{"read in part by the second", nil, func(hs *Table, number uint64) { read(hs, number, shorter, 4) }, 6, "45"},
		{
			"read by both", func(hs *Table, number uint64) { read(hs, number, text, 4) },
			func(hs *Table, number uint64) { read(hs, number, shorter, 4) }, 6, "45",
		},
		{
			"read by the first, looked at by the second", func(hs *Table, number uint64) { read(hs, number, text, 4) },
			func(hs *Table, number uint64) { hs.Get(number).AppendKept(nil, 4, 1) }, 10, "456789",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := persist.NewReads()
			next := func() *Table {
				hs := NewTable()
				hs.Restore(k)
				return hs
			}
			first := next()
			number := first.Add(node, 0, nil)
			if c.first != nil {
				c.first(first, number)
			}
			if c.second != nil {
				c.second(next(), number)
			}
			hs := next()
			if got, ok := hs.Get(number).AppendKept(nil, 4, 10); ok != (c.rest != "") || string(got) != c.rest {
				t.Errorf("the rest is %q, %v; want %q", got, ok, c.rest)
			}
			if got, ok := hs.Get(number).AppendKept(nil, max(c.length, 1), 10); ok != (c.length > 0) || len(got) > 0 {
				t.Errorf("at the end there is %q, %v", got, ok)
			}
			hs.Remove(number)
			if length, _, _ := k.Find(number, nil); length != 0 || hs.adopted != 0 || hs.KeptBytes() != 0 {
				t.Errorf("of the closed file %d bytes are known, %d kept", length, hs.KeptBytes())
			}
		})
	}
}
