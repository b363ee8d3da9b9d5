//go:build integration

package userns

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func setAttr(t *testing.T, path, name string, value []byte) {
	t.Helper()
	if err := unix.Lsetxattr(path, name, value, 0); err != nil {
		t.Fatalf("set %s of %s: %v", name, path, err)
	}
}

// Errors about records without a valid seal.
const (
	halfShifted = "the tree may be half shifted"
	notOurs     = "was not written with this host's key"
)

// TestForgedState checks that a state from an image is not trusted if it is that of a complete
// shift, and that with that of an interrupted shift nothing is changed until it is removed.
func TestForgedState(t *testing.T) {
	const maps = `"to-uids":"0:100000:65535","to-gids":"0:100000:65535"`
	const root = `"root":{"mode":493,"uid":0,"gid":0}`
	const shifting = `{"version":1,"phase":"shifting","run":1,` + root + `,` + maps
	for _, tt := range []struct {
		name, state string
		isHarmless  bool
	}{
		{"shifted", `{"version":1,"phase":"shifted",` + maps + `}`, true},
		{"shifted, with a seal", `{"version":1,"phase":"shifted",` + maps + `}0123456789abcdef`, true},
		{"shifted to others",
			`{"version":1,"phase":"shifted","to-uids":"0:5000:9","to-gids":"0:5000:9"}`, true},
		{"after its last step", shifting + `,"step":1}`, false},
		{"at its only step", shifting + `}`, false},
		{"unshifting", `{"version":1,"phase":"unshifting","run":1,` + root +
			`,"from-uids":"0:100000:65535","from-gids":"0:100000:65535"}`, false},
		{"of later releases", `{"version":9,"phase":"shifted",` + maps + `}`, false},
		{"no state", "\x00\xff\n", false},
		{"nothing", "", false},
		{"long", `{"version":1,"phase":"` + strings.Repeat("x", 1<<12) + `"}`, false},
	} {
		for _, hasKey := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, key %v", tt.name, hasKey), func(t *testing.T) {
				base := named("tmpfs").newDir(t)
				dir, other := filepath.Join(base, "root"), filepath.Join(base, "other")
				want := filepath.Join(base, "want")
				build(t, dir, true, small())
				build(t, other, true, small())
				build(t, want, true, shifted(small()))
				if hasKey {
					shiftTree(t, other)
				}
				setAttr(t, dir, stateName, []byte(tt.state))
				before := takeDump(t, dir, true)
				r := call(t, "status", dir)
				if r.stdout != "none\n" || !strings.Contains(r.stderr, notOurs) ||
					strings.Count(r.stderr, "\n") != 1 {
					t.Errorf("status: %+v", r)
				}
				checkRefused(t, call(t, "verify", dir), 1, "no shift is recorded", notOurs)
				checkRefused(t, call(t, "mount", "--user-remap", remap, dir, filepath.Join(base, "none")), 1)
				texts := []string{notOurs, "/key"}
				if !tt.isHarmless {
					texts = append(texts, "nothing was changed", halfShifted, "setfattr -x "+stateName+" "+dir)
					checkRefused(t, call(t, "shift", "--user-remap", remap, dir), 1, texts...)
				}
				checkRefused(t, call(t, "unshift", dir), 1, texts...)
				checkDump(t, "refused", takeDump(t, dir, true), before)
				if !tt.isHarmless {
					if err := unix.Removexattr(dir, stateName); err != nil {
						t.Fatal(err)
					}
				}
				shiftTree(t, dir)
				must(t, "verify", dir)
				checkDump(t, "shifted", takeDump(t, dir, false).withoutState(t, dir), takeDump(t, want, false))
			})
		}
	}
}

// TestForgedFlags checks that recorded flags from an image are removed without being set on a file
// or a file being opened, also with the names of earlier releases, which numbered paths.
func TestForgedFlags(t *testing.T) {
	if inVM() {
		return // its file systems have no flags
	}
	base := named("ext4").newDir(t)
	root := filepath.Join(base, "root")
	build(t, root, true, []item{
		{path: ".", kind: unix.S_IFDIR, mode: 0o755}, file("victim", 0o644, 0, 0),
		node("null", unix.S_IFCHR, 0o666, 0, 0, unix.Mkdev(1, 3)),
		node("fifo", unix.S_IFIFO, 0o666, 0, 0, 0),
	})
	watch, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(watch)
	for _, name := range []string{"victim", "null", "fifo"} {
		number := uint64(0xcbf29ce484222325)
		for _, c := range []byte(name + "\x00") {
			number = (number ^ uint64(c)) * 0x100000001b3
		}
		flags := binary.LittleEndian.AppendUint32(nil, immutable)
		setAttr(t, root, fmt.Sprintf("%s.flags.%016x", stateName, number), flags)
		flags = append(make([]byte, 8), flags...)
		setAttr(t, root, fmt.Sprintf("%s.flags.%032x", stateName, number), flags)
		if _, err := unix.InotifyAddWatch(watch, filepath.Join(root, name), unix.IN_OPEN); err != nil {
			t.Fatal(err)
		}
	}
	shiftTree(t, root)
	if n, err := unix.Read(watch, make([]byte, 4096)); !errors.Is(err, unix.EAGAIN) {
		t.Errorf("a file was opened: %d bytes, %v", n, err)
	}
	if flags, err := getFlags(filepath.Join(root, "victim")); err != nil || flags&immutable != 0 {
		t.Errorf("got flags %x, %v of victim, want it not immutable", flags, err)
	}
	if attrs, err := describeAttrs(root); err != nil || strings.Contains(attrs, "flags") {
		t.Errorf("got attributes%s, %v of the root directory", attrs, err)
	}
	checkOwners(t, root, map[string]string{
		"victim": "100000:100000", "null": "100000:100000", "fifo": "100000:100000",
	})
}

// interrupt kills a shift after it has written the record of bin/suid, and returns the record.
func interrupt(t *testing.T, root string, items []item) []byte {
	t.Helper()
	for n := 1; ; n++ {
		if err := removeTree(root); err != nil {
			t.Fatal(err)
		}
		build(t, root, true, items)
		r := traced(t, n, "shift", "--jobs", "1", "--user-remap", remap, root)
		if !r.Killed {
			t.Fatalf("no kill left a record of bin/suid: %+v", r)
		}
		if value, err := getAttr(filepath.Join(root, "bin/suid"), recordName); err == nil {
			return value
		}
	}
}

// TestCopiedRecord checks that a file with the record of another file does not get its mode when
// the interrupted shift is resumed.
func TestCopiedRecord(t *testing.T) {
	root := filepath.Join(named("tmpfs").newDir(t), "root")
	record := interrupt(t, root, append(small(), file("done", 0o755, 100000, 100000)))
	setAttr(t, filepath.Join(root, "plain"), recordName, record)
	setAttr(t, filepath.Join(root, "done"), recordName, record)
	r := must(t, "shift", "--user-remap", remap, root)
	if !strings.Contains(r.stderr, "not trusted") || !strings.Contains(r.stderr, `"plain"`) ||
		strings.Contains(r.stderr, `"bin/suid"`) {
		t.Errorf("stdout %q", r.stderr)
	}
	got := takeDump(t, root, false)
	for name, mode := range map[string]string{
		"plain": "mode 100644 ", "done": "mode 100755 ", "bin/suid": "mode 104755 ",
	} {
		if !strings.HasPrefix(got[name], mode) || strings.Contains(got[name], recordName) {
			t.Errorf("%s: got %s, want %s", name, got[name], mode)
		}
	}
}

// copyTree copies a tree with all attributes, as a backup does.
func copyTree(t *testing.T, from, to string) {
	t.Helper()
	if out, err := exec.Command("cp", "-a", from, to).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, path := range []string{".", "bin/suid"} {
		for _, name := range []string{stateName, recordName} {
			value, err := getAttr(filepath.Join(from, path), name)
			if err != nil {
				continue
			}
			copied, err := getAttr(filepath.Join(to, path), name)
			if err != nil || string(copied) != string(value) {
				t.Fatalf("cp does not copy trusted attributes: %v", err)
			}
		}
	}
}

// TestCopiedTree checks that the records of a tree are not valid for a copy on the same host and
// file system, and that a copy of a half-shifted tree is not changed.
func TestCopiedTree(t *testing.T) {
	base := named("tmpfs").newDir(t)
	root, whole := filepath.Join(base, "root"), filepath.Join(base, "whole")
	half := filepath.Join(base, "half")
	interrupt(t, root, small())
	copyTree(t, root, half)
	before := takeDump(t, half, true)
	for _, line := range [][]string{{"shift", "--user-remap", remap}, {"unshift"}} {
		checkRefused(t, call(t, plus(line, half)...), 1, "nothing was changed", halfShifted, notOurs)
	}
	checkDump(t, "refused", takeDump(t, half, true), before)
	shiftTree(t, root)
	copyTree(t, root, whole)
	checkAdopted(t, whole)
}

// checkAdopted checks that a shifted tree with the record of another one is recognized by its
// owners, and that the next shift replaces the record.
func checkAdopted(t *testing.T, root string) {
	t.Helper()
	r := call(t, "status", root)
	if r.code != 5 || r.stdout != "unmarked-shifted\n" || !strings.Contains(r.stderr, notOurs) {
		t.Errorf("status: %+v", r)
	}
	checkRefused(t, call(t, "unshift", root), 1, "give the map it was shifted with",
		"(it says: shifted to "+remap+")")
	r = must(t, "shift", "--user-remap", remap, root)
	if !strings.HasPrefix(r.stdout, "changed 0 of ") {
		t.Errorf("shift: %+v", r)
	}
	if r := must(t, "status", root); r.stdout != "shifted "+remap+"\n" || r.stderr != "" {
		t.Errorf("status: %+v", r)
	}
	must(t, "verify", root)
	must(t, "unshift", root)
}

// TestUpgrade checks shift and unshift of shifted and half-shifted trees of releases without seals.
func TestUpgrade(t *testing.T) {
	const maps = `"to-uids":"0:100000:65535","to-gids":"0:100000:65535"`
	base := named("tmpfs").newDir(t)
	root := filepath.Join(base, "root")
	items := []item{
		{path: ".", kind: unix.S_IFDIR, mode: 0o755}, file("f", 0o4755, 0, 0).with(capsName, caps2()),
	}
	build(t, root, true, shifted(items))
	old := []byte(`{"version":1,"phase":"shifted",` + maps + `}`)
	setAttr(t, root, stateName, old)
	checkAdopted(t, root)
	shiftTree(t, root)
	setAttr(t, root, stateName, old)
	must(t, "unshift", "--user-remap", remap, root)
	if attrs, err := describeAttrs(root); err != nil || strings.Contains(attrs, stateName) {
		t.Errorf("got attributes%s, %v of the root directory", attrs, err)
	}
	half := filepath.Join(base, "half")
	build(t, half, true, []item{
		{path: ".", kind: unix.S_IFDIR, mode: 0o700}, file("f", 0o644, 0, 0),
		file("done", 0o755, 100000, 100000).with(recordName, make([]byte, 13)),
	})
	setAttr(t, half, stateName, []byte(
		`{"version":1,"phase":"shifting","run":1,"root":{"mode":493,"uid":0,"gid":0},`+maps+`}`))
	checkHalf(t, half, func() error { return unix.Removexattr(half, stateName) })
}

// checkHalf checks that a half-shifted tree whose record is not trusted is not changed until its
// record is removed and the mode of its root directory restored.
func checkHalf(t *testing.T, root string, forget func() error) {
	t.Helper()
	lines := [][]string{{"shift", "--user-remap", remap}, {"unshift", "--user-remap", remap}}
	refused := func(texts ...string) {
		t.Helper()
		before := takeDump(t, root, true)
		for _, line := range lines {
			checkRefused(t, call(t, plus(line, root)...), 1, append(texts, "nothing was changed")...)
		}
		if r := call(t, "status", root); r.code != 4 || r.stdout != "mixed\n" {
			t.Errorf("status: %+v", r)
		}
		checkDump(t, "refused", takeDump(t, root, true), before)
	}
	if forget != nil {
		refused(halfShifted, notOurs)
		if err := forget(); err != nil {
			t.Fatal(err)
		}
	}
	refused("looks like a shift that was interrupted", "chmod")
	if err := os.Chmod(root, 0o755); err != nil {
		t.Fatal(err)
	}
	shiftTree(t, root)
	must(t, "verify", root)
}

// TestLostKey checks that a half-shifted tree whose state directory, with the key, is lost can be
// recovered.
func TestLostKey(t *testing.T) {
	for _, name := range []string{"tmpfs", "ramfs"} {
		t.Run(name, func(t *testing.T) {
			f := named(name)
			root := filepath.Join(f.newDir(t), "root")
			for n := 1; ; n++ {
				if err := removeTree(root); err != nil {
					t.Fatal(err)
				}
				build(t, root, f.hasAttrs, small())
				if r := traced(t, n, "shift", "--jobs", "1", "--user-remap", remap, root); !r.Killed {
					t.Fatalf("never half shifted: %+v", r)
				}
				if r := call(t, "verify", root); !strings.Contains(r.stderr, "interrupted") {
					continue
				}
				var st unix.Stat_t
				if err := unix.Lstat(filepath.Join(root, "plain"), &st); err != nil {
					t.Fatal(err)
				}
				if st.Uid == 100007 {
					break
				}
			}
			if err := os.RemoveAll(stateDir(t)); err != nil {
				t.Fatal(err)
			}
			var forget func() error
			if f.hasAttrs {
				forget = func() error { return unix.Removexattr(root, stateName) }
			}
			checkHalf(t, root, forget)
		})
	}
}

// TestOtherFileSystem checks that a record is not trusted on another file system of the same type,
// whose root directory has the same inode number and mostly the same file handle.
func TestOtherFileSystem(t *testing.T) {
	for _, f := range fileSystems {
		if !f.hasAttrs || inVM() && f.mkfs != nil {
			continue
		}
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			var roots [2]string
			for n := range roots {
				roots[n] = filepath.Join(shared.dir, fmt.Sprintf("%s-root-%d", f.name, n))
				mountForTest(t, roots[n], f.name, f.mkfs, size)
				build(t, roots[n], true, []item{file("f", 0o4755, 0, 0)})
			}
			shiftTree(t, roots[0])
			state, err := getAttr(roots[0], stateName)
			if err != nil {
				t.Fatal(err)
			}
			setAttr(t, roots[1], stateName, state)
			r := call(t, "status", roots[1])
			if r.stdout != "none\n" || !strings.Contains(r.stderr, notOurs) {
				t.Errorf("status: %+v", r)
			}
			shiftTree(t, roots[1])
			checkOwners(t, roots[1], map[string]string{".": "100000:100000", "f": "100000:100000"})
		})
	}
}
