package shift

import (
	"testing"

	"palisade/internal/sys"
)

// TestMemo has what is remembered of a directory, and when that is no longer believed.
func TestMemo(t *testing.T) {
	changed := sys.Time{Sec: 1000}
	i := sys.Inode{Number: 5, Changed: changed}
	late := sys.Time{Sec: 1001}
	for _, tt := range []struct {
		name  string
		now   sys.Inode
		began sys.Time
		want  bool
	}{
		{"the same", i, late, true},
		{"changed since", sys.Inode{Number: 5, Changed: sys.Time{Sec: 1000, Nsec: 1}}, late, false},
		{"another", sys.Inode{Number: 6, Changed: changed}, late, false},
		{"on another file system", sys.Inode{Number: 5, Changed: changed, FileSystem: sys.DeviceNumber{Major: 1}}, late, false},
		{"changed just before", i, sys.Time{Sec: 1000, Nsec: settled - 1}, false},
		{"changed long enough before", i, sys.Time{Sec: 1000, Nsec: settled}, true},
		{"changed in the future", i, sys.Time{Sec: 999}, false},
	} {
		m := &memos{made: make(map[inodeKey]*memo)}
		made := m.make(&i)
		if got := m.of(&tt.now, tt.began); got != nil != tt.want || tt.want && got != made {
			t.Errorf("%s: %v", tt.name, got)
		}
		if m.of(&i, late) != nil && tt.now.Number == 5 && tt.now.FileSystem.Major == 0 {
			t.Errorf("%s: it is believed twice", tt.name)
		}
	}
	full := &memos{made: make(map[inodeKey]*memo)}
	for n := range uint64(maxMemos) {
		full.made[inodeKey{number: n}] = nil
	}
	if full.make(&sys.Inode{Number: maxMemos}) != nil {
		t.Error("there is no bound")
	}
}

// TestChunk has the codes of files, which come in the same order, or are looked at.
func TestChunk(t *testing.T) {
	m, w := new(memo), new(worker)
	own := &owners{codes: make(map[owner]uint16)}
	files := []sys.Entry{{Number: 1}, {Number: 2}, {Number: 1<<32 + 3}}
	c := m.chunk(0)
	c.begin(w)
	for n := range files {
		c.note(own, &files[n], own.code(owner{uint32(n % 2), 7}))
	}
	c.end(w)
	if m.chunk(0) != c || m.chunk(2) != nil || m.chunk(1) == nil || (*memo)(nil).chunk(0) != nil {
		t.Error("parts are not found again")
	}
	c.begin(w)
	for n := range files {
		code := c.take(&files[n])
		if code < firstOwner || c.owner(code) != (owner{uint32(n % 2), 7}) {
			t.Errorf("file %d has code %d", n, code)
		}
	}
	if c.take(&files[0]) != lookCode {
		t.Error("one more file is known")
	}
	c.end(w)
	c.next = 0
	for n, number := range []uint64{1, 9, 3} { // the second one is another
		if got, want := c.take(&sys.Entry{Number: number}) == lookCode, number == 9; got != want {
			t.Errorf("file %d is to be looked at: %v", n, got)
		}
	}
	var none *chunk
	none.begin(w)
	none.note(own, &files[0], dirCode)
	none.end(w)
	if none.take(&files[0]) != lookCode {
		t.Error("without a memo a file is known")
	}
}

// TestOwners has more owners than there are codes.
func TestOwners(t *testing.T) {
	own := &owners{codes: make(map[owner]uint16)}
	for n := range uint32(1 << 16) {
		code := own.code(owner{n, n})
		if isKnown := n < 1<<16-firstOwner; (code == lookCode) == isKnown || isKnown && own.list[code-firstOwner].uid != n {
			t.Fatalf("owner %d has code %d", n, code)
		}
	}
	if own.code(owner{5, 5}) != 5+firstOwner {
		t.Error("an owner has two codes")
	}
}

// TestPathHash has the numbers of paths: as many as paths, the same for a name and its path.
func TestPathHash(t *testing.T) {
	root := new(dir)
	seen := make(map[uint64]string)
	for _, a := range []string{"a", "b", "ab", "\xff"} {
		d := &dir{parent: root, name: sys.MakeName(a), number: pathHash(0, sys.MakeName(a))}
		for _, b := range []string{"a", "b", "c"} {
			f := d.named(sys.MakeName(b))
			n := f.pathNumber()
			if other, ok := seen[n]; ok {
				t.Errorf("%q and %q have one number", other, d.path(b))
			}
			seen[n] = d.path(b)
			if n != pathHash(d.number, sys.MakeName(b)) {
				t.Errorf("%q has two numbers", d.path(b))
			}
		}
	}
}

// TestMatters has lists of extended attributes as listxattr(2) gives them.
func TestMatters(t *testing.T) {
	for list, want := range map[string]bool{
		"": false, "security.selinux\x00": false, "user.a\x00security.capability\x00": true, "system.posix_acl_access\x00": true,
		"system.posix_acl_default\x00user.a\x00": true, "trusted.userns_shift\x00": true, "trusted.userns_shift.record\x00": true,
		"trusted.userns_shift.other\x00": false, "cut": true,
	} {
		if got := hasOneThatMatters([]byte(list)); got != want {
			t.Errorf("%q: %v", list, got)
		}
	}
}
