package idattr

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"

	"palisade/internal/oci/idmap"
)

// thereAndBack returns a shift by 100000, by 300000 for gids, and the change back.
func thereAndBack(t testing.TB) (there, back *idmap.Step) {
	t.Helper()
	p := idmap.Pair{UID: idmap.Map{{Host: 100000, Size: 65535}},
		GID: idmap.Map{{Host: 300000, Size: 65535}}}
	var steps [2]idmap.Step
	for i, c := range []idmap.Change{{To: p}, {From: p}} {
		found, err := c.Steps()
		if err != nil || len(found) != 1 {
			t.Fatal(found, err)
		}
		steps[i] = found[0]
	}
	return &steps[0], &steps[1]
}

func unhex(t testing.TB, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Values as getfattr -e hex shows them, after setcap and setfacl on Linux 6.18.
const (
	netRaw = "01000002 00200000 00000000 00000000 00000000" // setcap cap_net_raw+ep
	// setcap -n 100000 cap_net_raw+ep
	netRaw100k = "01000003 00200000 00000000 00000000 00000000 a0860100"
	netRaw5000 = "01000003 00200000 00000000 00000000 00000000 88130000"
	inherited  = "00000002 00000000 00200000 00000000 00000000" // cap_net_raw+i: not effective
	oldCaps    = "01000001 00200000 00000000"                   // of Linux 2.6.24
)

func TestTranslateCaps(t *testing.T) {
	there, back := thereAndBack(t)
	for _, tt := range []struct {
		name, value, want string
		uids              *idmap.Translation
		kind              idmap.Kind
	}{
		{"of all namespaces", netRaw, netRaw100k, there.UID, idmap.Moved},
		{"back", netRaw100k, netRaw, back.UID, idmap.Moved},
		{"of the container's already", netRaw100k, netRaw100k, there.UID, idmap.Done},
		{"of the host's already", netRaw, netRaw, back.UID, idmap.Done},
		{"nested", netRaw5000, strings.Replace(netRaw5000, "88130000", "289a0100", 1), there.UID,
			idmap.Moved},
		{"nested back", strings.Replace(netRaw5000, "88130000", "289a0100", 1), netRaw5000, back.UID,
			idmap.Moved},
		{"not effective", inherited, strings.Replace(inherited, "00000002", "00000003", 1) + "a0860100",
			there.UID, idmap.Moved},
		{"revision 1", oldCaps, "01000003 00200000 00000000 00000000 00000000 a0860100", there.UID,
			idmap.Moved},
		{"not mapped", strings.Replace(netRaw5000, "88130000", "ffff0000", 1),
			strings.Replace(netRaw5000, "88130000", "ffff0000", 1), there.UID, idmap.Unmapped},
	} {
		value := unhex(t, tt.value)
		got, kind, err := TranslateCaps(value, tt.uids)
		if err != nil || kind != tt.kind || !bytes.Equal(got, unhex(t, tt.want)) {
			t.Errorf("%s: %x, %d, %v, want %s", tt.name, got, kind, err, tt.want)
		}
		if !bytes.Equal(value, unhex(t, tt.value)) {
			t.Errorf("%s: the value was changed", tt.name)
		}
	}
}

func TestHostCaps(t *testing.T) {
	for value, want := range map[string]string{netRaw: netRaw, netRaw100k: netRaw,
		inherited: inherited, oldCaps: oldCaps} {
		if got, err := HostCaps(unhex(t, value)); err != nil || !bytes.Equal(got, unhex(t, want)) {
			t.Errorf("%s: %x, %v, want %s", value, got, err, want)
		}
	}
}

// TestBadCaps covers values that the kernel does not accept.
func TestBadCaps(t *testing.T) {
	there, _ := thereAndBack(t)
	for _, value := range []string{"", "010000", "01000002", "01000002 00200000 00000000",
		netRaw + "00", netRaw100k[:len(netRaw100k)-2],
		"01000004 00200000 00000000 00000000 00000000",
		strings.Replace(netRaw, "01000002", "01000003", 1),
		strings.Replace(netRaw100k, "01000003", "01000002", 1)} {
		if _, _, err := TranslateCaps(unhex(t, value), there.UID); err == nil {
			t.Errorf("%q is translated", value)
		}
		if _, err := HostCaps(unhex(t, value)); err == nil {
			t.Errorf("%q is made the host's", value)
		}
	}
}

const someACL = "02000000 01000700 ffffffff 02000500 e8030000 04000500 ffffffff 08000400 " +
	"2a000000 10000500 ffffffff 20000100 ffffffff"

func TestTranslateACL(t *testing.T) {
	there, back := thereAndBack(t)
	shifted := strings.NewReplacer("e8030000", "888a0100", "2a000000", "0a940400").Replace(someACL)
	var notes []ACLEntry
	note := func(e ACLEntry) { notes = append(notes, e) }
	value := unhex(t, someACL)
	got, err := TranslateACL(value, there, note)
	if err != nil || !bytes.Equal(got, unhex(t, shifted)) || !bytes.Equal(value, unhex(t, someACL)) {
		t.Errorf("%x, %v, want %s", got, err, shifted)
	}
	if len(notes) != 2 || notes[0] != (ACLEntry{false, 1000, idmap.Moved}) ||
		notes[1] != (ACLEntry{true, 42, idmap.Moved}) {
		t.Errorf("notes: %v", notes)
	}
	if again, err := TranslateACL(got, there, nil); err != nil || !bytes.Equal(again, got) {
		t.Errorf("again: %x, %v", again, err)
	}
	if got, err = TranslateACL(got, back, nil); err != nil || !bytes.Equal(got, value) {
		t.Errorf("back: %x, %v", got, err)
	}
	// Entries with unmapped ids stay, and so do those without a user or group, whatever their id.
	odd := strings.NewReplacer("e8030000", "ffff0000", "10000500 ffffffff",
		"10000500 05000000").Replace(someACL)
	notes = nil
	got, err = TranslateACL(unhex(t, odd), there, note)
	if want := strings.Replace(odd, "2a000000", "0a940400", 1); err != nil ||
		!bytes.Equal(got, unhex(t, want)) || notes[0].Kind != idmap.Unmapped {
		t.Errorf("%x, %v, %v, want %s", got, err, notes, want)
	}
	if got, err := TranslateACL(unhex(t, "02000000"), there, nil); err != nil || len(got) != 4 {
		t.Errorf("an empty list: %x, %v", got, err)
	}
	for _, bad := range []string{"", "020000", "03000000", "02000000 01", "02000000 01000700 ffffff"} {
		if _, err := TranslateACL(unhex(t, bad), there, nil); err == nil {
			t.Errorf("%q is translated", bad)
		}
	}
}

// isPlain reports whether the change back restores an id.
func isPlain(id uint32) bool { return id < 65535 }

// FuzzCaps checks that a shift and the change back restore the bytes.
func FuzzCaps(f *testing.F) {
	for _, value := range []string{netRaw, netRaw100k, netRaw5000, inherited, oldCaps, "", "ff"} {
		f.Add(unhex(f, value))
	}
	there, back := thereAndBack(f)
	f.Fuzz(func(t *testing.T, value []byte) {
		shifted, _, err := TranslateCaps(value, there.UID)
		if err != nil {
			return
		}
		got, _, err := TranslateCaps(shifted, back.UID)
		if err != nil {
			t.Fatalf("%x is shifted to %x: %v", value, shifted, err)
		}
		root, _ := CapsRoot(value)
		// The kernel no longer writes revision 1, and no revision 3 for the host's root.
		if len(value) == capsSize1 || len(value) == capsSize3 && root == 0 || !isPlain(root) {
			return
		}
		if !bytes.Equal(got, value) {
			t.Errorf("%x becomes %x and %x", value, shifted, got)
		}
	})
}

// FuzzACL checks the same for access control lists.
func FuzzACL(f *testing.F) {
	for _, value := range []string{someACL, "02000000", "", "03000000"} {
		f.Add(unhex(f, value))
	}
	there, back := thereAndBack(f)
	f.Fuzz(func(t *testing.T, value []byte) {
		comesBack := true
		shifted, err := TranslateACL(value, there,
			func(e ACLEntry) { comesBack = comesBack && isPlain(e.ID) })
		if err != nil {
			return
		}
		got, err := TranslateACL(shifted, back, nil)
		if err != nil || comesBack && !bytes.Equal(got, value) {
			t.Errorf("%x becomes %x and %x, %v", value, shifted, got, err)
		}
	})
}
