package shift

import (
	"fmt"
	"strings"
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
		m := newMemos()
		made := m.make(&i)
		made.read = true
		if got := m.of(&tt.now, tt.began); got != nil != tt.want || tt.want && got != made {
			t.Errorf("%s: %v", tt.name, got)
		}
		if m.of(&i, late) != nil && tt.now.Number == 5 && tt.now.FileSystem.Major == 0 {
			t.Errorf("%s: it is believed twice", tt.name)
		}
	}
	for _, spoil := range []func(*memo){
		func(m *memo) { m.read = false }, func(m *memo) { m.first.lost = true }, func(m *memo) { m.next(1).lost = true },
	} {
		m := newMemos()
		made := m.make(&i)
		made.read = true
		spoil(made)
		if m.of(&i, late) != nil {
			t.Errorf("%+v is believed", made)
		}
	}
	full := newMemos()
	for n := range uint64(maxMemos) {
		full.made[inodeKey{number: n}] = nil
	}
	if full.make(&sys.Inode{Number: maxMemos}) != nil {
		t.Error("there is no bound")
	}
}

// TestNotes has what is noted of files, in several parts.
func TestNotes(t *testing.T) {
	all := newMemos()
	n, m := &notes{memos: all}, new(memo)
	type entry struct {
		name string
		code uint16
	}
	parts := [][]entry{{{"a", lookCode}, {"d", dirCode}, {"\xff\n", lookCode}, {strings.Repeat("x", 255), dirCode}}, nil, {{"b", lookCode}}}
	for number, part := range parts {
		for _, e := range part {
			n.note(sys.MakeName(e.name), e.code)
		}
		for k := range 3 {
			n.noteOwner(sys.MakeName(fmt.Sprint(k)), owner{uint32(k % 2), 7})
		}
		n.keep(m.next(number))
	}
	for number, part := range parts {
		c := &m.first
		if number > 0 {
			c = m.more[number-1]
		}
		rest := c.entries
		for _, e := range part {
			name, code, after := cut(rest)
			if rest = after; name.String() != e.name || code != e.code {
				t.Errorf("part %d: %q has code %d, want %q, %d", number, name, code, e.name, e.code)
			}
		}
		for k := range 3 {
			name, code, after := cut(rest)
			if rest = after; name.String() != fmt.Sprint(k) || code < firstOwner || all.owners.of(code) != (owner{uint32(k % 2), 7}) {
				t.Errorf("part %d: %q has code %d", number, name, code)
			}
		}
		if len(rest) > 0 {
			t.Errorf("part %d: %q follows", number, rest)
		}
	}
	n.note(sys.MakeName("lost"), lookCode)
	n.keep(nil)
	all.size.Store(maxMemoBytes)
	n.note(sys.MakeName("too much"), lookCode)
	c := new(chunk)
	if n.keep(c); !c.lost || c.entries != nil || (*memo)(nil).next(0) != nil {
		t.Errorf("there is no bound: %+v", c)
	}
}

// TestOwners has more owners than there are codes.
func TestOwners(t *testing.T) {
	own := &newMemos().owners
	for n := range uint32(1 << 16) {
		code := own.code(owner{n, n})
		if isKnown := n < 1<<16-firstOwner; (code == lookCode) == isKnown || isKnown && own.of(code).uid != n {
			t.Fatalf("owner %d has code %d", n, code)
		}
	}
	if own.code(owner{5, 5}) != 5+firstOwner {
		t.Error("an owner has two codes")
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
