package shift

import (
	"fmt"
	"testing"

	"palisade/internal/linux/sys"
	"palisade/internal/userns/walk"
)

// TestTreeCache checks when the cache of a directory is no longer valid.
func TestTreeCache(t *testing.T) {
	changed := sys.Time{Sec: 1000}
	i := sys.Inode{Number: 5, Changed: changed}
	late := sys.Time{Sec: 1001}
	for _, tt := range []struct {
		name    string
		now     sys.Inode
		scanned sys.Time
		want    bool
	}{
		{"the same", i, late, true},
		{"changed since", sys.Inode{Number: 5, Changed: sys.Time{Sec: 1000, Nsec: 1}}, late, false},
		{"another", sys.Inode{Number: 6, Changed: changed}, late, false},
		{"on another file system", sys.Inode{Number: 5, Changed: changed,
			FileSystem: sys.DeviceNumber{Major: 1}}, late, false},
		{"changed just before", i, sys.Time{Sec: 1000, Nsec: settleTime - 1}, false},
		{"changed long enough before", i, sys.Time{Sec: 1000, Nsec: settleTime}, true},
		{"changed in the future", i, sys.Time{Sec: 999}, false},
	} {
		c := newTreeCache()
		added := c.add(&i)
		added.listing.SetRead()
		if got := c.take(&tt.now, tt.scanned); got != nil != tt.want || tt.want && got != added {
			t.Errorf("%s: %v", tt.name, got)
		}
		if c.take(&i, late) != nil && tt.now.Number == 5 && tt.now.FileSystem.Major == 0 {
			t.Errorf("%s: taken twice", tt.name)
		}
	}
	c := newTreeCache()
	c.add(&i)
	if c.take(&i, late) != nil {
		t.Error("an incomplete listing is valid")
	}
	full := newTreeCache()
	for n := range uint64(maxCachedDirs) {
		full.dirs[walk.InodeKey{Number: n}] = nil
	}
	if full.add(&sys.Inode{Number: maxCachedDirs}) != nil {
		t.Error("the number of directories is not limited")
	}
}

// TestCacheWriter records the files of two directories with one writer, and replays them.
func TestCacheWriter(t *testing.T) {
	cache := newTreeCache()
	w := &cacheWriter{cache: cache}
	chunks := make([]*walk.Chunk, 3)
	for n := range chunks {
		chunks[n] = new(walk.Chunk)
		w.add(sys.NewName(fmt.Sprint("d", n)), walk.CodeDir)
		for k := range 3 {
			w.addOwner(sys.NewName(fmt.Sprint(k)), owner{uint32(k % 2), 7})
		}
		w.flush(chunks[n])
	}
	for n, chunk := range chunks {
		want := []string{fmt.Sprintf("d%d: dir", n), "0: 0", "1: 1", "2: 0"}
		got := 0
		for name, code := range chunk.All() {
			text := name.String() + ": dir"
			if code >= walk.FirstCode {
				text = fmt.Sprintf("%s: %d", name, cache.owners.owner(code).uid)
			}
			if got >= len(want) || text != want[got] {
				t.Errorf("chunk %d, entry %d: %s", n, got, text)
			}
			got++
		}
		if got != len(want) {
			t.Errorf("chunk %d has %d entries", n, got)
		}
	}
	w.add(sys.NewName("dropped"), walk.CodeUnknown)
	w.flush(nil)
	cache.size.Store(maxCachedBytes)
	w.add(sys.NewName("too much"), walk.CodeUnknown)
	c := new(walk.Chunk)
	if w.flush(c); !c.IsLost() {
		t.Errorf("the size is not limited: %+v", c)
	}
}

// TestOwnerCodes checks what happens if there are more owners than codes.
func TestOwnerCodes(t *testing.T) {
	codes := &newTreeCache().owners
	for n := range uint32(1 << 16) {
		code := codes.code(owner{n, n})
		hasCode := n < 1<<16-walk.FirstCode
		if (code == walk.CodeUnknown) == hasCode || hasCode && codes.owner(code).uid != n {
			t.Fatalf("owner %d has code %d", n, code)
		}
	}
	if codes.code(owner{5, 5}) != 5+walk.FirstCode {
		t.Error("an owner has two codes")
	}
}

// TestListsSpecial covers lists of extended attributes as returned by listxattr(2).
func TestListsSpecial(t *testing.T) {
	for list, want := range map[string]bool{
		"": false, "security.selinux\x00": false, "user.a\x00security.capability\x00": true,
		"system.posix_acl_access\x00": true, "system.posix_acl_default\x00user.a\x00": true,
		"trusted.userns_shift\x00": true, "trusted.userns_shift.record\x00": true,
		"trusted.userns_shift.other\x00": false, "cut": true,
	} {
		if got := listsSpecial([]byte(list)); got != want {
			t.Errorf("%q: %v", list, got)
		}
	}
}
