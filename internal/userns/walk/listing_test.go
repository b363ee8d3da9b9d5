package walk

import (
	"strings"
	"testing"

	"palisade/internal/linux/sys"
)

// TestListing reads the entries of several parts back.
func TestListing(t *testing.T) {
	type entry struct {
		name string
		code uint16
	}
	parts := [][]entry{
		{{"a", CodeUnknown}, {"d", CodeDir}, {"\xff\n", 0xffff}, {strings.Repeat("x", 255), CodeDir}},
		nil,
		{{"b", CodeUnknown}},
	}
	l := new(Listing)
	for number, part := range parts {
		var entries []byte
		for _, e := range part {
			entries = AppendEntry(entries, sys.NewName(e.name), e.code)
		}
		l.next(number).Set(entries)
	}
	for number, c := range []*Chunk{&l.first, l.more[0], l.more[1]} {
		var got []entry
		for name, code := range c.All() {
			got = append(got, entry{name.String(), code})
		}
		if len(got) != len(parts[number]) {
			t.Fatalf("part %d: %v", number, got)
		}
		for n, e := range parts[number] {
			if got[n] != e {
				t.Errorf("part %d: %v, want %v", number, got[n], e)
			}
		}
	}
	if l.IsComplete() {
		t.Error("complete before the last part")
	}
	if l.SetRead(); !l.IsComplete() {
		t.Error("incomplete after the last part")
	}
	for _, c := range []*Chunk{&l.first, l.more[1]} {
		if c.SetLost(); l.IsComplete() {
			t.Error("complete without all entries")
		}
		c.isLost = false
	}
	if (*Listing)(nil).next(0) != nil {
		t.Error("a nil listing has parts")
	}
}
