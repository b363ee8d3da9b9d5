//go:build integration

package userns

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestUnmapped checks the policies for unmapped ids.
func TestUnmapped(t *testing.T) {
	items := []item{
		directory(".", 0o755, 0, 0), file("a", 0o4755, 65535, 0), file("b", 0o644, 1, 70000),
		file("c", 0o644, 1, 1),
		file("acl", 0o640, 1, 1).with(accessName, acl(70001, 5, 6, 4)),
		file("caps", 0o755, 1, 1).with(capsName, caps3(70002)),
	}
	ids := []string{`65535 of "a"`, `70000 of "b"`, `70001 of "acl"`,
		`the root of the capabilities of "caps"`}
	root := filepath.Join(named("tmpfs").newDir(t), "root")
	build(t, root, true, items)
	before := takeDump(t, root, true)
	checkRefused(t, call(t, "shift", "--user-remap", remap, root), 1,
		append(ids, "nothing was changed", "squash=ID")...)
	r := call(t, "check", "--user-remap", remap, root)
	if r.code != 1 || !strings.Contains(r.stdout, ids[0]) || r.stderr != "" {
		t.Errorf("check: %+v", r)
	}
	checkRefused(t, call(t, "shift", "--user-remap", remap, "--unmapped", "squash=65535", root), 1,
		"is not mapped")
	checkDump(t, "refused", takeDump(t, root, true), before)
	r = must(t, "shift", "--user-remap", remap, "--unmapped", "keep", root)
	if !strings.Contains(r.stderr, `uids that are not mapped are kept: `) ||
		!strings.Contains(r.stderr, ids[0]) {
		t.Errorf("stdout %q", r.stderr)
	}
	checkOwners(t, root, map[string]string{"a": "65535:100000", "b": "100001:70000",
		"c": "100001:100001"})
	checkRefused(t, call(t, "verify", root), 1, "4 of 6 files do not match 100000:100000:65535: ",
		"; uids that are not mapped: ", ids[0], ids[2], ids[3], "; gids that are not mapped: "+ids[1])
	// Only files with unmapped ids remain to be changed.
	r = must(t, "shift", "--user-remap", remap, "--unmapped", "squash=65534", root)
	if !strings.HasPrefix(r.stdout, "changed 4 of 6 files") {
		t.Errorf("stdout %q", r.stdout)
	}
	checkOwners(t, root, map[string]string{"a": "165534:100000", "b": "100001:165534",
		"c": "100001:100001"})
	after := takeDump(t, root, false)
	if !strings.Contains(after["a"], "mode 104755") ||
		!strings.Contains(after["caps"], fmt.Sprintf("%x", caps3(165534))) ||
		!strings.Contains(after["acl"], fmt.Sprintf("%x", acl(165534, 100005, 6, 4))) {
		t.Errorf("squashed: %q", after)
	}
	must(t, "verify", root)
}

func checkOwners(t *testing.T, root string, want map[string]string) {
	t.Helper()
	for name, owner := range want {
		var st unix.Stat_t
		if err := unix.Lstat(filepath.Join(root, name), &st); err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprintf("%d:%d", st.Uid, st.Gid); got != owner {
			t.Errorf("%s belongs to %s, want %s", name, got, owner)
		}
	}
}

// TestLinkedOutside checks the policies for files with a name outside the tree.
func TestLinkedOutside(t *testing.T) {
	dir := named("tmpfs").newDir(t)
	root, outside := filepath.Join(dir, "root"), filepath.Join(dir, "outside")
	build(t, root, true, append(small(), directory("d", 0o755, 0, 0), file("d/f", 0o4755, 0, 0)))
	if err := os.Link(filepath.Join(root, "d/f"), outside); err != nil {
		t.Fatal(err)
	}
	before := takeDump(t, root, true)
	checkRefused(t, call(t, "shift", "--user-remap", remap, root), 1, "nothing was changed",
		`"d/f" (1 of 2 names are inside)`, "--hardlinks=ignore")
	checkDump(t, "refused", takeDump(t, root, true), before)
	if !inVM() { // its kernel has no idmapped mounts of tmpfs
		seen := filepath.Join(dir, "seen")
		if err := os.Mkdir(seen, 0o755); err != nil {
			t.Fatal(err)
		}
		r := call(t, "mount", "--user-remap", remap, root, seen)
		checkRefused(t, r, 1, `"d/f" (1 of 2 names are inside)`, "--hardlinks=ignore")
		must(t, "mount", "--user-remap", remap, "--hardlinks", "ignore", root, seen)
		must(t, "umount", seen)
	}
	must(t, "shift", "--user-remap", remap, "--hardlinks", "ignore", root)
	checkOwners(t, dir, map[string]string{"outside": "100000:100000"})
}

// TestProtected checks the policies for immutable and append-only files.
func TestProtected(t *testing.T) {
	if inVM() {
		return // its file systems have no flags
	}
	for _, f := range fileSystems[:3] {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			dir := f.newDir(t)
			root, want := filepath.Join(dir, "root"), filepath.Join(dir, "want")
			items := append(small(), protectedFiles()...)
			items = append(items, directory("fixed-dir", 0o2755, 0, 0), file("fixed-dir/f", 0o644, 1, 1))
			build(t, root, true, items)
			build(t, want, true, shifted(items))
			for _, d := range []string{root, want} {
				if err := setFlags(filepath.Join(d, "fixed-dir"), immutable); err != nil {
					t.Fatal(err)
				}
			}
			before := takeDump(t, root, true)
			checkRefused(t, call(t, "shift", "--user-remap", remap, root), 1, "nothing was changed",
				`"safe"`, `"fixed"`, `"log"`, `"fixed-dir"`,
				"chattr -i -a, or --immutable=clear or skip")
			checkDump(t, "refused", takeDump(t, root, true), before)
			r := must(t, "shift", "--user-remap", remap, "--immutable", "skip", root)
			if !strings.Contains(r.stderr, `left unchanged: `) {
				t.Errorf("stderr %q", r.stderr)
			}
			checkOwners(t, root, map[string]string{"fixed": "0:0", "log": "1:1", "fixed-dir": "0:0",
				"fixed-dir/f": "100001:100001", "plain": "100007:100007"})
			must(t, "shift", "--user-remap", remap, "--immutable", "clear", root)
			checkDump(t, "cleared", takeDump(t, root, false).withoutState(t, root), takeDump(t, want, false))
			must(t, "unshift", "--immutable", "clear", root)
			if err := setFlags(root, immutable); err != nil {
				t.Fatal(err)
			}
			checkRefused(t, call(t, "shift", "--user-remap", remap, root), 1, "nothing was changed",
				"itself is immutable")
			if err := setFlags(root, 0); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestCapsPolicies(t *testing.T) {
	for policy, want := range map[string]string{"v3": fmt.Sprintf("=%x", caps3(100000)),
		"v2": fmt.Sprintf("=%x", caps2()), "drop": ""} {
		root := filepath.Join(named("tmpfs").newDir(t), "root")
		build(t, root, true, []item{directory(".", 0o755, 0, 0),
			file("f", 0o755, 0, 0).with(capsName, caps2())})
		for range 2 {
			must(t, "shift", "--user-remap", remap, "--caps", policy, root)
			line := takeDump(t, root, false)["f"]
			if _, got, _ := strings.Cut(line, capsName); got != want {
				t.Errorf("%s: %s, want %q", policy, line, want)
			}
		}
	}
}

// TestForeignRecord checks that a record that came with a file is removed, and not trusted.
func TestForeignRecord(t *testing.T) {
	dir := named("tmpfs").newDir(t)
	root, want := filepath.Join(dir, "root"), filepath.Join(dir, "want")
	items := []item{directory(".", 0o755, 0, 0), file("f", 0o755, 0, 0),
		file("done", 0o755, 100000, 100000), file("suid", 0o4755, 0, 0).with(capsName, caps2())}
	build(t, root, true, items)
	build(t, want, true, shifted(items))
	forged := binary.LittleEndian.AppendUint64([]byte{1}, 7)
	forged = binary.LittleEndian.AppendUint32(forged, 0o6777)
	for name, value := range map[string][]byte{"f": append(forged, caps2()...), "done": forged,
		"suid": []byte("garbage")} {
		if err := unix.Setxattr(filepath.Join(root, name), recordName, value, 0); err != nil {
			t.Fatal(err)
		}
	}
	shiftTree(t, root)
	checkDump(t, "shifted", takeDump(t, root, false).withoutState(t, root), takeDump(t, want, false))
}

// TestNestedRoot checks that a tree that contains another shifted tree is refused.
func TestNestedRoot(t *testing.T) {
	root := filepath.Join(named("tmpfs").newDir(t), "root")
	build(t, root, true, append(small(), directory("sub", 0o755, 0, 0), file("sub/f", 0o4755, 0, 0)))
	shiftTree(t, filepath.Join(root, "sub"))
	before := takeDump(t, root, true)
	checkRefused(t, call(t, "shift", "--user-remap", remap, root), 1, "nothing was changed",
		`shifted by themselves: "sub"`, "unshift these first")
	checkDump(t, "refused", takeDump(t, root, true), before)
}

// TestStatusGuesses checks the status of trees without a record.
func TestStatusGuesses(t *testing.T) {
	for _, tt := range []struct {
		name string
		uids []int
		args []string
		want string
		code int
	}{
		{"own", []int{0, 5}, nil, "none", 0},
		{"shifted", []int{100000, 100005}, nil, "unmarked-shifted", 5},
		{"mixed", []int{100000, 5}, nil, "mixed", 4},
		{"with a map", []int{1000, 1005}, []string{"--user-remap", "1000:1000:500"}, "unmarked-shifted",
			5},
		{"mixed with a map", []int{1000, 3}, []string{"--user-remap", "1000:1000:500"}, "mixed", 4},
	} {
		root := filepath.Join(named("tmpfs").newDir(t), "root")
		build(t, root, true, []item{directory(".", 0o755, tt.uids[0], tt.uids[0]),
			file("f", 0o644, tt.uids[1], tt.uids[1])})
		before := takeDump(t, root, true)
		r := call(t, append(append([]string{"status"}, tt.args...), root)...)
		if r.code != tt.code || r.stdout != tt.want+"\n" || r.stderr != "" {
			t.Errorf("%s: %+v, want %s", tt.name, r, tt.want)
		}
		r = call(t, append(append([]string{"status", "--json"}, tt.args...), root)...)
		var status struct{ Root, Status string }
		if err := json.NewDecoder(bytes.NewReader([]byte(r.stdout))).Decode(&status); err != nil ||
			status.Root != root || status.Status != tt.want || r.code != tt.code {
			t.Errorf("%s: %+v, %v", tt.name, r, err)
		}
		checkDump(t, tt.name, takeDump(t, root, true), before)
	}
}
