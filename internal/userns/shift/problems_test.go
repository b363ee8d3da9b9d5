package shift

import (
	"slices"
	"strings"
	"testing"

	"palisade/internal/linux/sys"
	"palisade/internal/oci/idmap"
	"palisade/internal/userns/walk"
)

func TestProblems(t *testing.T) {
	s := newScan()
	d := &walk.Dir{Name: sys.NewName("d"), Parent: new(walk.Dir)}
	f := &file{dir: d, name: sys.NewName("f\n")}
	s.unmapped[0].add(70000, nil, f)
	s.unmapped[1].add(65535, nil, f)
	for range 7 {
		s.flagged.add(f)
	}
	s.nested.add(f)
	s.readOnly.add(f)
	s.links[walk.InodeKey{Number: 1}] = links{found: 1, all: 3, dir: d, name: "x"}
	s.links[walk.InodeKey{Number: 2}] = links{found: 2, all: 2, dir: d}
	strict := &Options{}
	strict.setDefaults()
	got := s.problems(strict, testPair())
	var texts []string
	for _, p := range got {
		texts = append(texts, p.Text+" | "+p.Remedy)
	}
	const largeIDs = "chown them, since no offset of --user-remap is large enough, " +
		"or --unmapped=keep or squash=ID"
	want := []string{
		`uids that are not mapped: 70000 of "d/f\n" | ` + largeIDs,
		`gids that are not mapped: 65535 of "d/f\n" | ` + largeIDs,
		`files that are immutable or append-only: ` +
			strings.Repeat(`"d/f\n", `, 4) + `"d/f\n" and 2 more` +
			` | chattr -i -a, or --immutable=clear or skip`,
		`files with names outside the tree: "d/x" (1 of 3 names are inside)` +
			` | copy them, or --hardlinks=ignore to change the owner of the files outside, too`,
		`subvolumes that are read-only: "d/f\n" | btrfs property set DIR ro false, or delete them`,
		`directories that were shifted by themselves: "d/f\n" | unshift these first, ` +
			`or, if the attribute came from an image, setfattr -x trusted.userns_shift`,
	}
	if !slices.Equal(texts, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(texts, "\n"), strings.Join(want, "\n"))
	}
	if text := got[:2].Error(); !strings.HasPrefix(text, "nothing was changed: uids that") ||
		strings.Contains(text, "\n") {
		t.Errorf("%s", text)
	}
	small := newScan()
	small.unmapped[0].add(40000, nil, f)
	p := small.problems(strict, idmap.Remap{UID: 5000, GID: 5000, Offset: 10}.Pair())
	if p[0].Remedy != "an offset of at least 40001, or --unmapped=keep or squash=ID" {
		t.Errorf("%+v", p)
	}
	lax := &Options{Unmapped: Keep, Immutable: Skip, HardLinks: Ignore}
	if p := s.problems(lax, testPair()); len(p) != 2 {
		t.Errorf("%v", p)
	}
}

func TestDevpts(t *testing.T) {
	for size, want := range map[uint32]int{5: 1, 6: 0, 65535: 0} {
		m := idmap.Map{{Host: 100000, Size: size}}
		if p := checkDevpts(idmap.Pair{UID: m, GID: m}); len(p) != want {
			t.Errorf("size %d: %v", size, p)
		} else if want == 1 && !strings.Contains(p[0].Remedy, "an offset of at least 6") {
			t.Errorf("%v", p)
		}
	}
}
