package journal

import (
	"reflect"
	"slices"
	"testing"

	"palisade/internal/oci/idmap"
)

func TestState(t *testing.T) {
	id := uint32(7)
	other := idmap.Pair{UID: idmap.Map{{Host: 300000, Size: 10}},
		GID: idmap.Map{{Host: 5, Size: 1}, {Container: 1, Host: 400000, Size: 9}}}
	root := RootDir{0o2755, 3, 4}
	for _, s := range []State{
		{Phase: Shifted, Change: idmap.Change{To: testPair}},
		{Phase: Shifting, Change: idmap.Change{To: testPair}, Root: root, Run: 1<<64 - 1},
		{Phase: Shifting, Change: idmap.Change{From: other, To: testPair}, Root: root, Run: 1},
		{Phase: Shifting, Change: idmap.Change{To: testPair, Squash: &id}, Root: root, Run: 1},
		{Phase: Shifting, Change: idmap.Change{To: testPair, Park: 1 << 20}, Root: root, Run: 1, Step: 1},
		{Phase: Unshifting, Change: idmap.Change{From: testPair}, Root: root, Run: 1},
	} {
		text, err := s.encode()
		if err != nil {
			t.Fatal(err)
		}
		got, err := decodeState(text)
		if err != nil || !reflect.DeepEqual(*got, s) {
			t.Errorf("%s: %+v, %v, want %+v", text, got, err, s)
		}
		if !got.Pair().Equal(testPair) {
			t.Errorf("%s: maps %v", text, got.Pair())
		}
		if got.Partial() != (s.Phase != Shifted) {
			t.Errorf("%s is partial: %v", text, got.Partial())
		}
	}
	if (*State)(nil).Partial() {
		t.Error("a nil state is partial")
	}
}

// FuzzState checks that accepted states have valid steps.
func FuzzState(f *testing.F) {
	s := State{Phase: Shifting, Change: idmap.Change{To: testPair, Park: 1 << 20},
		Root: RootDir{0o755, 0, 0}, Run: 1, Step: 1}
	text, err := s.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte(`{"version":1,"phase":"shifted","to-uids":"0:1:1","to-gids":"0:1:1"}`))
	f.Add([]byte(`{"version":1,"phase":"unshifting","run":1,"root":{"mode":0,"uid":0,"gid":0},` +
		`"from-uids":"0:1:1","from-gids":"0:1:1"}`))
	f.Add([]byte("{}"))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := decodeState(text)
		if err != nil {
			return
		}
		if s.Pair().IsZero() || s.Root.Mode > 0o7777 {
			t.Errorf("%q: %+v", text, s)
		}
		if s.Partial() {
			if steps, err := s.Change.Steps(); err != nil || s.Step > len(steps) {
				t.Errorf("%q: %v, %v", text, steps, err)
			}
		}
		again, err := s.encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := decodeState(again); err != nil {
			t.Errorf("%q is written as %q: %v", text, again, err)
		}
	})
}

func FuzzRecord(f *testing.F) {
	f.Add((&Record{1, 0o4755, []byte{1, 2}}).encode())
	f.Add([]byte{1})
	f.Add([]byte(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decodeRecord(b)
		if err != nil {
			return
		}
		if r.Mode > 0o7777 || string(r.encode()) != string(b) {
			t.Errorf("%x: %+v", b, r)
		}
	})
}

func TestRecord(t *testing.T) {
	for _, r := range []Record{{1, 0o4755, nil}, {1<<64 - 1, 0, []byte{1, 2}}} {
		if got, err := decodeRecord(r.encode()); err != nil || !reflect.DeepEqual(*got, r) {
			t.Errorf("%+v, %v, want %+v", got, err, r)
		}
	}
	good := (&Record{1, 0o4755, nil}).encode()
	bad := slices.Clone(good)
	bad[0] = 2
	big := slices.Clone(good)
	big[12] = 1
	for _, b := range [][]byte{nil, {}, good[:12], bad, big} {
		if r, err := decodeRecord(b); err == nil {
			t.Errorf("%x is %+v", b, r)
		}
	}
}
