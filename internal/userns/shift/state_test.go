package shift

import (
	"fmt"
	"io/fs"
	"reflect"
	"slices"
	"strings"
	"testing"

	"palisade/internal/idmap"
	"palisade/internal/sys"
)

// TestState has states that are recorded and read again.
func TestState(t *testing.T) {
	id := uint32(7)
	other := idmap.Pair{UID: idmap.Map{{Host: 300000, Size: 10}}, GID: idmap.Map{{Host: 5, Size: 1}, {Container: 1, Host: 400000, Size: 9}}}
	root := rootDir{0o2755, 3, 4}
	for _, s := range []State{
		{Phase: Shifted, Change: idmap.Change{To: testPair()}},
		{Phase: Shifting, Change: idmap.Change{To: testPair()}, Root: root, Run: 1<<64 - 1},
		{Phase: Shifting, Change: idmap.Change{From: other, To: testPair()}, Root: root, Run: 1},
		{Phase: Shifting, Change: idmap.Change{To: testPair(), Squash: &id}, Root: root, Run: 1},
		{Phase: Shifting, Change: idmap.Change{To: testPair(), Park: 1 << 20}, Root: root, Run: 1, Step: 1},
		{Phase: Unshifting, Change: idmap.Change{From: testPair()}, Root: root, Run: 1},
	} {
		text, err := s.encode()
		if err != nil {
			t.Fatal(err)
		}
		got, err := decodeState(text)
		if err != nil || !reflect.DeepEqual(*got, s) {
			t.Errorf("%s: %+v, %v, want %+v", text, got, err, s)
		}
		if want := map[bool]idmap.Pair{true: s.Change.From, false: s.Change.To}[s.Phase == Unshifting]; !got.Pair().Equal(want) {
			t.Errorf("%s is of %v", text, got.Pair())
		}
		if got.Partial() != (s.Phase != Shifted) {
			t.Errorf("%s is partial: %v", text, got.Partial())
		}
	}
	if (*State)(nil).Partial() {
		t.Error("no state is partial")
	}
}

// FuzzState has states from elsewhere: those that are understood can be carried out.
func FuzzState(f *testing.F) {
	s := State{Phase: Shifting, Change: idmap.Change{To: testPair(), Park: 1 << 20}, Root: rootDir{0o755, 0, 0}, Run: 1, Step: 1}
	text, err := s.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte(`{"version":1,"phase":"shifted","to-uids":"0:1:1","to-gids":"0:1:1"}`))
	f.Add([]byte(`{"version":1,"phase":"unshifting","run":1,"root":{"mode":0,"uid":0,"gid":0},"from-uids":"0:1:1","from-gids":"0:1:1"}`))
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

// FuzzRecord has records from elsewhere.
func FuzzRecord(f *testing.F) {
	f.Add((&record{1, 0o4755, caps2()}).encode())
	f.Add([]byte{1})
	f.Add([]byte(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decodeRecord(b)
		if err != nil {
			return
		}
		if r.mode > 0o7777 || string(r.encode()) != string(b) {
			t.Errorf("%x: %+v", b, r)
		}
	})
}

// TestRecord has records that make no sense.
func TestRecord(t *testing.T) {
	for _, r := range []record{{1, 0o4755, nil}, {1<<64 - 1, 0, caps2()}} {
		if got, err := decodeRecord(r.encode()); err != nil || !reflect.DeepEqual(*got, r) {
			t.Errorf("%+v, %v, want %+v", got, err, r)
		}
	}
	good := (&record{1, 0o4755, nil}).encode()
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

// TestFailures has the text for files that failed.
func TestFailures(t *testing.T) {
	var f failures
	if f.err() != nil {
		t.Error("nothing failed")
	}
	for n := range 7 {
		f.add(fmt.Sprintf("a\n%d", n), fs.ErrPermission)
	}
	want := `files that failed: 7: "a\n0": permission denied; "a\n1": permission denied; "a\n2": permission denied; "a\n3": permission denied; "a\n4": permission denied; and 2 more`
	if got := f.err().Error(); got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
}

// TestProblems has the texts of what a census has found, and the remedies.
func TestProblems(t *testing.T) {
	c := newCensus()
	d := &dir{name: sys.MakeName("d"), parent: new(dir)}
	f := d.named(sys.MakeName("f\n"))
	c.unmapped[0].note(70000, nil, &f)
	c.unmapped[1].note(65535, nil, &f)
	for range 7 {
		c.flagged.add(&f)
	}
	c.roots.add(&f)
	c.readOnly.add(&f)
	c.links[inodeKey{number: 1}] = links{found: 1, all: 3, dir: d, name: "x"}
	c.links[inodeKey{number: 2}] = links{found: 2, all: 2, dir: d}
	strict := &Options{}
	strict.complete()
	got := c.problems(strict, testPair())
	var texts []string
	for _, p := range got {
		texts = append(texts, p.Text+" | "+p.Remedy)
	}
	want := []string{
		`uids that are not mapped: 70000 of "d/f\n" | chown them, for no offset of --user-remap is large enough, or --unmapped=keep or squash=ID`,
		`gids that are not mapped: 65535 of "d/f\n" | chown them, for no offset of --user-remap is large enough, or --unmapped=keep or squash=ID`,
		`files that are immutable or append-only: "d/f\n", "d/f\n", "d/f\n", "d/f\n", "d/f\n" and 2 more | chattr -i -a, or --immutable=clear or skip`,
		`files with names outside of the tree: "d/x" (1 of 3 names are inside) | copy them, or --hardlinks=ignore to change the owner of the files outside, too`,
		`subvolumes that are read-only: "d/f\n" | btrfs property set DIR ro false, or delete them`,
		`directories that were shifted by themselves: "d/f\n" | unshift these first, or, if the attribute came from an image, setfattr -x trusted.userns_shift`,
	}
	if !slices.Equal(texts, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(texts, "\n"), strings.Join(want, "\n"))
	}
	if text := got[:2].Error(); !strings.HasPrefix(text, "nothing was changed: uids that") || strings.Contains(text, "\n") {
		t.Errorf("%s", text)
	}
	small := newCensus()
	small.unmapped[0].note(40000, nil, &f)
	if p := small.problems(strict, idmap.Pair{UID: idmap.Map{{Host: 5000, Size: 10}}, GID: idmap.Map{{Host: 5000, Size: 10}}}); p[0].Remedy != "an offset of at least 40001, or --unmapped=keep or squash=ID" {
		t.Errorf("%+v", p)
	}
	lax := &Options{Unmapped: Keep, Immutable: Skip, HardLinks: Ignore}
	if p := c.problems(lax, testPair()); len(p) != 2 {
		t.Errorf("%v", p)
	}
}

// TestMergeCensus has what several workers have found.
func TestMergeCensus(t *testing.T) {
	a, b := newCensus(), newCensus()
	key := inodeKey{number: 5}
	a.links[key], b.links[key] = links{found: 1, all: 3}, links{found: 2, all: 3}
	a.files, b.files, a.moved, b.done, b.low = 3, 4, 1, 2, true
	b.unmapped[1].largest = 9
	a.merge(b)
	if a.files != 7 || a.moved != 1 || a.done != 2 || !a.low || a.high || a.links[key].found != 3 || a.unmapped[1].largest != 9 {
		t.Errorf("%+v", a)
	}
}

// TestDevpts has the map in which the group of /dev/pts is missing.
func TestDevpts(t *testing.T) {
	for size, want := range map[uint32]int{5: 1, 6: 0, 65535: 0} {
		m := idmap.Map{{Host: 100000, Size: size}}
		if p := CheckDevpts(idmap.Pair{UID: m, GID: m}); len(p) != want {
			t.Errorf("size %d: %v", size, p)
		} else if want == 1 && !strings.Contains(p[0].Remedy, "an offset of at least 6") {
			t.Errorf("%v", p)
		}
	}
}
