package shift

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"reflect"
	"testing"

	"palisade/internal/linux/sys"
	"palisade/internal/oci/idmap"
	"palisade/internal/userns/idattr"
	"palisade/internal/userns/journal"
)

// Types of files, as in st_mode.
const (
	regular   = 0o100000
	directory = 0o040000
)

const testRun = 42

func testPair() idmap.Pair {
	m := idmap.Map{{Host: 100000, Size: 65535}}
	return idmap.Pair{UID: m, GID: m}
}

func testRules(t testing.TB, c idmap.Change) *rules {
	t.Helper()
	steps, err := c.Steps()
	if err != nil {
		t.Fatal(err)
	}
	return &rules{Step: steps[0], caps: CapsV3, run: testRun}
}

func caps2() []byte {
	return append([]byte{1, 0, 0, 2, 0, 0x20}, make([]byte, 14)...)
}

func caps3(root uint32) []byte {
	b := caps2()
	b[3] = 3
	return binary.LittleEndian.AppendUint32(b, root)
}

// acl returns a list with one entry for a user.
func acl(id uint32) []byte {
	return binary.LittleEndian.AppendUint32([]byte{2, 0, 0, 0, 2, 0, 7, 0}, id)
}

// TestPlan covers the plans for files, also after an interrupted change.
func TestPlan(t *testing.T) {
	shift := testRules(t, idmap.Change{To: testPair()})
	dropping, v2, noCaps := *shift, *shift, *shift
	dropping.dropSetID, v2.caps, noCaps.caps = true, CapsV2, CapsDrop
	const to = 100005
	old := func(mode uint32) sys.Inode { return sys.Inode{Mode: mode, UID: 5, GID: 5} }
	done := func(mode uint32) sys.Inode { return sys.Inode{Mode: mode, UID: to, GID: to} }
	was := func(mode uint32, caps []byte) *journal.Record {
		return &journal.Record{Run: testRun, Mode: mode, Caps: caps}
	}
	for _, tt := range []struct {
		name  string
		rules *rules
		inode sys.Inode
		attrs attrs
		want  plan
	}{
		{"plain", shift, old(regular | 0o644), attrs{}, plan{chown: true, mode: 0o644}},
		{"plain, done", shift, done(regular | 0o644), attrs{}, plan{mode: 0o644}},
		{"set-uid", shift, old(regular | 0o4755), attrs{},
			plan{record: was(0o4755, nil), chown: true, setMode: true, mode: 0o4755, removeRecord: true}},
		{"set-gid without x", shift, old(regular | 0o2644), attrs{},
			plan{record: was(0o2644, nil), chown: true, setMode: true, mode: 0o2644, removeRecord: true}},
		{"set-uid, done", shift, done(regular | 0o4755), attrs{}, plan{mode: 0o4755}},
		{"set-uid, killed before chown", shift, old(regular | 0o4755), attrs{record: was(0o4755, nil)},
			plan{chown: true, setMode: true, mode: 0o4755, removeRecord: true}},
		{"set-uid, killed after chown", shift, done(regular | 0o755), attrs{record: was(0o4755, nil)},
			plan{setMode: true, mode: 0o4755, removeRecord: true}},
		{"set-uid, killed before the record is removed", shift, done(regular | 0o4755),
			attrs{record: was(0o4755, nil)}, plan{mode: 0o4755, removeRecord: true}},
		{"set-gid directory", shift, old(directory | 0o3777), attrs{}, plan{chown: true, mode: 0o3777}},
		{"directory with lists", shift, old(directory | 0o755),
			attrs{accessACL: acl(7), defaultACL: acl(8)},
			plan{chown: true, mode: 0o755, accessACL: acl(100007), defaultACL: acl(100008)}},
		{"lists, done", shift, done(directory | 0o755),
			attrs{accessACL: acl(100007), defaultACL: acl(100008)}, plan{mode: 0o755}},
		{"capabilities", shift, old(regular | 0o755), attrs{caps: caps2()},
			plan{record: was(0o755, caps2()), chown: true, mode: 0o755, setCaps: true, caps: caps3(100000),
				removeRecord: true}},
		{"capabilities, killed after chown", shift, done(regular | 0o755),
			attrs{record: was(0o755, caps2())},
			plan{mode: 0o755, setCaps: true, caps: caps3(100000), removeRecord: true}},
		{"capabilities, killed before the record is removed", shift, done(regular | 0o755),
			attrs{caps: caps3(100000), record: was(0o755, caps2())},
			plan{mode: 0o755, caps: caps3(100000), removeRecord: true}},
		{"capabilities, done", shift, done(regular | 0o755), attrs{caps: caps3(100000)},
			plan{mode: 0o755, caps: caps3(100000)}},
		{"capabilities of a file with the right owner", shift, done(regular | 0o755),
			attrs{caps: caps2()}, plan{mode: 0o755, setCaps: true, caps: caps3(100000)}},
		{"all", shift, old(regular | 0o6750), attrs{caps: caps3(5000), accessACL: acl(7)},
			plan{record: was(0o6750, caps3(5000)), chown: true, setMode: true,
				mode: 0o6750, accessACL: acl(100007), setCaps: true, caps: caps3(105000), removeRecord: true}},
		{"drop set-id", &dropping, old(regular | 0o6755), attrs{},
			plan{record: was(0o6755, nil), chown: true, setMode: true, mode: 0o755, removeRecord: true}},
		{"drop set-id, owner done", &dropping, done(regular | 0o6755), attrs{},
			plan{setMode: true, mode: 0o755}},
		{"capabilities for the host, too", &v2, old(regular | 0o755), attrs{caps: caps3(100000)},
			plan{record: was(0o755, caps3(100000)), chown: true, mode: 0o755, setCaps: true, caps: caps2(),
				removeRecord: true}},
		{"drop capabilities", &noCaps, old(regular | 0o755), attrs{caps: caps2()},
			plan{record: was(0o755, caps2()), chown: true, mode: 0o755, removeRecord: true}},
		{"drop capabilities, owner done", &noCaps, done(regular | 0o755), attrs{caps: caps2()},
			plan{mode: 0o755, removeCaps: true}},
		{"untrusted record", shift, old(regular | 0o755), attrs{isUntrusted: true},
			plan{chown: true, mode: 0o755, removeRecord: true}},
		{"untrusted record of a set-uid file", shift, old(regular | 0o4755), attrs{isUntrusted: true},
			plan{record: was(0o4755, nil), chown: true, setMode: true, mode: 0o4755, removeRecord: true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := tt.rules.plan(&tt.inode, &tt.attrs)
			if err != nil {
				t.Fatal(err)
			}
			// Kinds do not affect what is changed.
			got.uidKind, got.gidKind, got.capsKind, got.aclEntries = 0, 0, 0, nil
			tt.want.uid, tt.want.gid = to, to
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got  %+v\nwant %+v", got, tt.want)
			}
			unchanged := plan{uid: to, gid: to, mode: got.mode, caps: got.caps}
			if want := reflect.DeepEqual(got, unchanged); got.isEmpty() != want {
				t.Errorf("isEmpty: %v, want %v", got.isEmpty(), want)
			}
		})
	}
}

// fake is a file that changes as in the kernel.
type fake struct {
	inode sys.Inode
	attrs attrs
}

// steps returns the single changes of inode.apply.
func (f *fake) steps(p *plan) (steps []func()) {
	if p.record != nil {
		steps = append(steps, func() { f.attrs.record, f.attrs.isUntrusted = p.record, false })
	}
	if p.chown {
		steps = append(steps, func() {
			f.inode.UID, f.inode.GID = p.uid, p.gid
			if !f.inode.IsDir() { // chown(2); S_ISGID stays without x for the group
				f.inode.Mode &^= 0o4000
				if f.inode.Mode&0o010 != 0 {
					f.inode.Mode &^= 0o2000
				}
				f.attrs.caps = nil
			}
		})
	}
	if p.setMode {
		steps = append(steps, func() { f.inode.Mode = f.inode.Mode&^sys.ChmodMask | p.mode })
	}
	for _, a := range []struct{ now, next *[]byte }{{&f.attrs.accessACL, &p.accessACL},
		{&f.attrs.defaultACL, &p.defaultACL}} {
		if *a.next != nil {
			steps = append(steps, func() { *a.now = *a.next })
		}
	}
	switch {
	case p.setCaps:
		steps = append(steps, func() { f.attrs.caps = p.caps })
	case p.removeCaps:
		steps = append(steps, func() { f.attrs.caps = nil })
	}
	if p.removeRecord {
		steps = append(steps, func() { f.attrs.record, f.attrs.isUntrusted = nil, false })
	}
	return steps
}

// TestPlanResumes checks that the result of a change is the same wherever and however often it is
// killed, for all kinds of files and all rules.
func TestPlanResumes(t *testing.T) {
	shift := testRules(t, idmap.Change{To: testPair()})
	back := testRules(t, idmap.Change{From: testPair()})
	var all []*rules
	for _, r := range []*rules{shift, back} {
		for _, caps := range []CapsPolicy{CapsV3, CapsV2, CapsDrop} {
			for _, drop := range []bool{false, true} {
				c := *r
				c.caps, c.dropSetID = caps, drop
				all = append(all, &c)
			}
		}
	}
	for _, r := range all {
		for _, mode := range []uint32{0o755, 0o4755, 0o2755, 0o2644, 0o6711, 0o7777} {
			for _, caps := range [][]byte{nil, caps2(), caps3(100000), caps3(7), caps3(100007)} {
				for _, list := range [][]byte{nil, acl(3), acl(100003)} {
					for _, uid := range []uint32{0, 5, 100005, 70000} {
						f := fake{sys.Inode{Mode: regular | mode, UID: uid, GID: 5},
							attrs{caps: caps, accessACL: list}}
						checkResumes(t, r, f, 3)
					}
				}
			}
		}
	}
}

// checkResumes kills the change of a file at each step, up to kills times.
func checkResumes(t *testing.T, r *rules, f fake, kills int) {
	t.Helper()
	finish := func(f fake) fake {
		p, err := r.plan(&f.inode, &f.attrs)
		if err != nil {
			t.Fatal(err)
		}
		for _, step := range f.steps(&p) {
			step()
		}
		return f
	}
	want := finish(f)
	if again := finish(want); !reflect.DeepEqual(again, want) {
		t.Fatalf("%s: done twice: %s, then %s", f, want, again)
	}
	var try func(now fake, kills int)
	try = func(now fake, kills int) {
		if got := finish(now); !reflect.DeepEqual(got, want) {
			t.Fatalf("%s: resumed at %s: %s, want %s", f, now, got, want)
		}
		if kills == 0 {
			return
		}
		p, err := r.plan(&now.inode, &now.attrs)
		if err != nil {
			t.Fatal(err)
		}
		for n := range now.steps(&p) {
			killed := now
			for _, step := range killed.steps(&p)[:n] {
				step()
			}
			if n > 0 {
				try(killed, kills-1)
			}
		}
	}
	try(f, kills)
}

func (f fake) String() string {
	return fmt.Sprintf("mode %o owner %d:%d caps %x list %x record %v", f.inode.Mode, f.inode.UID,
		f.inode.GID, f.attrs.caps, f.attrs.accessACL, f.attrs.record)
}

func TestPlanErrors(t *testing.T) {
	r := testRules(t, idmap.Change{To: testPair()})
	for _, a := range []attrs{{caps: []byte("?")}, {accessACL: []byte("?")},
		{defaultACL: []byte("?")}} {
		if _, err := r.plan(&sys.Inode{Mode: regular}, &a); err == nil {
			t.Errorf("%+v is accepted", a)
		}
	}
}

// TestPlanUnmapped covers unmapped ids in attributes.
func TestPlanUnmapped(t *testing.T) {
	r := testRules(t, idmap.Change{To: testPair()})
	p, err := r.plan(&sys.Inode{Mode: regular, UID: 70000, GID: 1},
		&attrs{caps: caps3(70001), accessACL: acl(70002)})
	if err != nil || p.uidKind != idmap.Unmapped || p.gidKind != idmap.Moved ||
		p.capsKind != idmap.Unmapped || len(p.aclEntries) != 1 ||
		p.aclEntries[0] != (idattr.ACLEntry{ID: 70002, Kind: idmap.Unmapped}) {
		t.Errorf("%+v, %v", p, err)
	}
	if !bytes.Equal(p.caps, caps3(70001)) {
		t.Errorf("capabilities %x", p.caps)
	}
}

// TestIsPlain checks that a file that may have changed since the scan is read again.
func TestIsPlain(t *testing.T) {
	v := &mover{changer: &changer{scan: newScan()}}
	v.scan.began = sys.Time{Sec: 100, Nsec: 500_000_000}
	for _, tt := range []struct {
		changed sys.Time
		want    bool
	}{
		{sys.Time{Sec: 100, Nsec: 399_000_000}, true},
		{sys.Time{Sec: 100, Nsec: 401_000_000}, false},
		{sys.Time{Sec: 101, Nsec: 1}, false},
		{sys.Time{Sec: 100}, false}, // the time may be rounded down
		{sys.Time{Sec: 99}, true},
	} {
		if got := v.isPlain(&sys.Inode{Changed: tt.changed}); got != tt.want {
			t.Errorf("changed at %+v: %v, want %v", tt.changed, got, tt.want)
		}
	}
}
