package journal

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"palisade/internal/linux/sys"
	"palisade/internal/oci/idmap"
)

// TestSeal checks that a seal is valid only for its host, purpose, file and text.
func TestSeal(t *testing.T) {
	k, other := make(key, keySize), bytes.Repeat(key{1}, keySize)
	sealed := k.seal(sealRecord, "a", []byte("text"))
	if text, ok := k.open(sealRecord, "a", sealed); !ok || string(text) != "text" {
		t.Errorf("%q, %v", text, ok)
	}
	changed := slices.Clone(sealed)
	changed[0]++
	for _, tt := range []struct {
		name   string
		key    key
		what   string
		id     Identity
		sealed []byte
	}{
		{"another host", other, sealRecord, "a", sealed},
		{"no key", nil, sealRecord, "a", key(nil).seal(sealRecord, "a", []byte("text"))},
		{"another kind", k, sealFlags, "a", sealed},
		{"another file", k, sealRecord, "b", sealed},
		{"another text", k, sealRecord, "a", changed},
		{"cut", k, sealRecord, "a", sealed[:len(sealed)-1]},
		{"short", k, sealRecord, "a", sealed[:macSize-1]},
		{"nothing", k, sealRecord, "a", nil},
	} {
		if text, ok := tt.key.open(tt.what, tt.id, tt.sealed); ok {
			t.Errorf("%s: %q is accepted", tt.name, text)
		}
	}
}

var testPair = idmap.Pair{
	UID: idmap.Map{{Host: 100000, Size: 65535}}, GID: idmap.Map{{Host: 100000, Size: 65535}},
}

// openTest opens a directory and its journal.
func openTest(t *testing.T, dir, stateDir string) (sys.File, *Journal) {
	t.Helper()
	root, err := sys.OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	i, err := root.Statx()
	if err != nil {
		t.Fatal(err)
	}
	fsType, err := root.FSType()
	if err != nil {
		t.Fatal(err)
	}
	j, err := Open(root, dir, &i, fsType, stateDir)
	if err != nil {
		t.Fatal(err)
	}
	return root, j
}

// TestIdentity checks that all names of a file have one identity, and that a new file with the
// name, and perhaps the inode number, of a removed one has another.
func TestIdentity(t *testing.T) {
	dir := t.TempDir()
	root, j := openTest(t, dir, t.TempDir())
	path := filepath.Join(dir, "f")
	seen := make(map[Identity]bool)
	for range 50 {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Link(path, path+"2"); err != nil {
			t.Fatal(err)
		}
		id, err := identityAt(j, root, "f")
		other, err2 := identityAt(j, root, "f2")
		if err != nil || err2 != nil || seen[id] || id != other {
			t.Fatalf("identity %s, %s, %v, %v; %d before", id, other, err, err2, len(seen))
		}
		seen[id] = true
		if err := errors.Join(os.Remove(path), os.Remove(path+"2")); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := identityAt(j, root, "f"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

// identityAt returns the identity of the file name in a directory.
func identityAt(j *Journal, dir sys.File, name string) (Identity, error) {
	f, err := dir.OpenPathAt(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	return j.IdentityOf(f)
}

// journals returns two journals of the tree in dir: in extended attributes and in a directory.
func journals(t *testing.T, dir, stateDir string) map[string]*Journal {
	t.Helper()
	_, inAttrs := openTest(t, dir, stateDir)
	if _, ok := inAttrs.store.(attrStore); !ok {
		t.Skip("the file system has no trusted attributes; TestEverything has both kinds")
	}
	root, inDir := openTest(t, dir, stateDir)
	inDir.store = &dirStore{root: root, dir: filepath.Join(stateDir, "tree")}
	var err error
	if inDir.sealed, err = inDir.get(stateName); err != nil {
		t.Fatal(err)
	}
	return map[string]*Journal{"attributes": inAttrs, "directory": inDir}
}

// TestJournal reads records back, and checks that copies of them elsewhere are not trusted.
func TestJournal(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root has trusted attributes")
	}
	for _, name := range []string{"attributes", "directory"} {
		t.Run(name, func(t *testing.T) {
			dir, stateDir := t.TempDir(), t.TempDir()
			for _, f := range []string{"f", "g"} {
				if err := os.WriteFile(filepath.Join(dir, f), nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			open := func() *Journal { return journals(t, dir, stateDir)[name] }
			j := open()
			if s, _, err := j.State(); s != nil || err != nil {
				t.Fatalf("no state: %+v, %v", s, err)
			}
			want := &State{Phase: Shifting, Change: idmap.Change{To: testPair},
				Root: RootDir{0o755, 0, 0}, Run: 7}
			if err := j.SetState(want); err != nil {
				t.Fatal(err)
			}
			f, err := j.dir.OpenPathAt("f")
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			g, err := j.dir.OpenPathAt("g")
			if err != nil {
				t.Fatal(err)
			}
			defer g.Close()
			rec := &Record{Run: 7, Mode: 0o4755, Caps: []byte{1, 2}}
			id, err := j.IdentityOf(f)
			err = errors.Join(err, j.SetRecord(f, rec), j.RecordFlags(id, 7, 0x10),
				j.set("flags.other", []byte("x")), j.set("note", nil))
			if err != nil {
				t.Fatal(err)
			}

			j = open()
			s, _, err := j.State()
			if err != nil || !reflect.DeepEqual(s, want) || len(j.protected) != 1 {
				t.Fatalf("state %+v, %v; protected %v", s, err, j.protected)
			}
			got, isUntrusted, err := j.Record(f, 7)
			if err != nil || isUntrusted || !reflect.DeepEqual(got, rec) {
				t.Errorf("record %+v, %v, %v", got, isUntrusted, err)
			}
			if got, isUntrusted, err := j.Record(f, 8); err != nil || !isUntrusted || got != nil {
				t.Errorf("record in another run: %+v, %v, %v", got, isUntrusted, err)
			}
			isPending, isProtected, err := j.Pending(f)
			if err != nil || !isPending || !isProtected {
				t.Errorf("pending: %v, %v, %v", isPending, isProtected, err)
			}
			if isPending, _, err := j.Pending(g); err != nil || isPending {
				t.Errorf("pending: %v, %v", isPending, err)
			}
			flags, ok, err := j.RecordedFlags(id, 7)
			_, others, err2 := j.RecordedFlags(id, 8)
			if err != nil || err2 != nil || !ok || flags != 0x10 || others {
				t.Errorf("flags %x, %v, %v, %v, in another run %v", flags, ok, err, err2, others)
			}
			// Copy the record to another file.
			other, err := j.IdentityOf(g)
			if err != nil {
				t.Fatal(err)
			}
			from, name := j.recordOf(f, id)
			to, otherName := j.recordOf(g, other)
			copied, err := from.get(name)
			if err := errors.Join(err, to.set(otherName, copied)); err != nil {
				t.Fatal(err)
			}
			if got, isUntrusted, err := j.Record(g, 7); err != nil || !isUntrusted || got != nil {
				t.Errorf("record of another file: %+v, %v, %v", got, isUntrusted, err)
			}
			sealed := j.key.seal(sealFlags, id, make([]byte, 12))
			if err := j.set(flagsPrefix+string(other), sealed); err != nil {
				t.Fatal(err)
			}
			if flags, ok, err := j.RecordedFlags(other, 0); ok || err != nil {
				t.Errorf("flags of another file: %x, %v", flags, err)
			}
			// With another key, no record is trusted.
			if err := os.Remove(filepath.Join(stateDir, keyName)); err != nil {
				t.Fatal(err)
			}
			lost := open()
			s, claim, err := lost.State()
			if s != nil || err != nil || !reflect.DeepEqual(claim.State, want) ||
				!claim.MayBePartial() || len(lost.protected) > 0 {
				t.Errorf("state %+v, %v, claim %v", s, err, claim)
			}
			if err := errors.Join(j.RemoveRecord(f), j.RemoveAllFlags(), j.Finish()); err != nil {
				t.Error(err)
			}
			names, err := j.names()
			isFlags := func(name string) bool { return strings.HasPrefix(name, flagsPrefix) }
			if err != nil || slices.ContainsFunc(names, isFlags) {
				t.Errorf("%q are left, %v", names, err)
			}
			if s, _, err := open().State(); s != nil || err != nil {
				t.Errorf("state %+v, %v", s, err)
			}
		})
	}
}

// TestClaims checks that states without a valid seal are refused if the tree may be half shifted.
func TestClaims(t *testing.T) {
	const maps = `"to-uids":"0:100000:65535","to-gids":"0:100000:65535"`
	const half = `"run":1,"root":{"mode":493,"uid":0,"gid":0},` + maps + `}`
	for text, isHarmless := range map[string]bool{
		`{"version":1,"phase":"shifted",` + maps + `}`:              true,
		`{"version":1,"phase":"shifted",` + maps + `} and a {seal}`: true,
		`{"version":1,"phase":"shifting",` + half:                   false,
		`{"version":1,"phase":"unshifting",` + half:                 false,
		`{"version":1,"phase":"shifting","step":1,` + half:          false,
		`{"version":2,"phase":"shifted",` + maps + `}`:              false,
		`{}`: false, `}`: false, `x`: false, ``: false,
	} {
		j := &Journal{store: attrStore{}, sealed: []byte(text), path: "/t", stateDir: "/state"}
		c := j.claim()
		if c.MayBePartial() == isHarmless {
			t.Errorf("%q: may be partial: %v", text, !isHarmless)
		}
		if want := "setfattr -x trusted.userns_shift /t"; c.EraseCommand != want {
			t.Errorf("%q: %s, want %s", text, c.EraseCommand, want)
		}
		if says := c.String(); !strings.Contains(says, "/state/key") || strings.Contains(says, "\n") {
			t.Errorf("%q: %s", text, says)
		}
	}
}
