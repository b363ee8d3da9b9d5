//go:build integration

package userns

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestVerifyNames checks that verify names the wrong files, counts a file with several names and
// wrong ids once, and lists uids and gids separately.
func TestVerifyNames(t *testing.T) {
	root := filepath.Join(named("tmpfs").newDir(t), "root")
	build(t, root, true, []item{
		directory(".", 0o755, 0, 0), directory("d", 0o755, 0, 0),
		file("d/linked", 0o644, 0, 0), file("d/both", 0o644, 0, 0), file("good", 0o644, 0, 0),
	})
	if err := os.Link(filepath.Join(root, "d/linked"), filepath.Join(root, "other")); err != nil {
		t.Fatal(err)
	}
	must(t, "shift", "--user-remap", remap, root)
	if r := must(t, "verify", root); !strings.HasPrefix(r.stdout, "all 5 files match ") {
		t.Errorf("stdout %q", r.stdout)
	}
	chown := func(name string, uid, gid int) {
		t.Helper()
		if err := os.Lchown(filepath.Join(root, name), uid, gid); err != nil {
			t.Fatal(err)
		}
	}
	chown("d/linked", 0, 0)
	r := call(t, "verify", root)
	checkRefused(t, r, 1, "1 of 5 files do not match 100000:100000:65535: ", "(shift again)")
	if !strings.Contains(r.stderr, `"d/linked"`) && !strings.Contains(r.stderr, `"other"`) {
		t.Errorf("no file is named: %s", r.stderr)
	}
	chown("d/both", 300000, 300001)
	checkRefused(t, call(t, "verify", root), 1, "2 of 5 files do not match ", `"d/both"`,
		`; uids that are not mapped: 300000 of "d/both"; gids that are not mapped: 300001 of "d/both"`)
}

// TestSmallerOffset checks that check recommends an offset, in ids of the container, that works if
// the given one is too small for a shifted tree.
func TestSmallerOffset(t *testing.T) {
	root := filepath.Join(named("tmpfs").newDir(t), "root")
	build(t, root, true, []item{
		directory(".", 0o755, 0, 0), file("a", 0o644, 1000, 5), file("b", 0o644, 33, 33),
		file("acl", 0o640, 1, 1).with(accessName, acl(2000, 5, 6, 4)),
		file("caps", 0o755, 1, 1).with(capsName, caps3(3000)),
	})
	must(t, "shift", "--user-remap", remap, root)
	r := call(t, "check", "--user-remap", "100000:100000:4", root)
	const advice = "an offset of at least 3001, or --unmapped=keep or squash=ID"
	if r.code != 1 || !strings.Contains(r.stdout, advice) || strings.Contains(r.stdout, "chown them") {
		t.Errorf("check: %+v, want %q", r, advice)
	}
	if err := os.Chmod(filepath.Dir(root), 0o711); err != nil { // check reports it, too
		t.Fatal(err)
	}
	must(t, "check", "--user-remap", "100000:100000:3001", root)
	must(t, "check", "--user-remap", "200000:200000:3001", root)
}

// TestGraph checks that check recommends directories for an iSulad without containers of lcr, and
// that the recommendation works.
func TestGraph(t *testing.T) {
	dir := named("tmpfs").newDir(t)
	root, graph := filepath.Join(dir, "root"), filepath.Join(dir, "isulad")
	build(t, root, true, []item{directory(".", 0o755, 0, 0)})
	if err := os.Mkdir(graph, 0o711); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	lcr := filepath.Join(graph, "engines/lcr")
	check := []string{"check", "--engine", "isulad", "--graph", graph, "--user-remap", remap, root}
	advice := "remedy: mkdir -p -m 711 " + lcr + "\n"
	if r := call(t, check...); r.code != 1 || !strings.Contains(r.stdout, advice) {
		t.Errorf("%+v", r)
	}
	if out, err := exec.Command("mkdir", "-p", "-m", "711", lcr).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	must(t, check...)
	if err := os.Chmod(graph, 0o750); err != nil {
		t.Fatal(err)
	}
	r := call(t, check...)
	if r.code != 1 || strings.Count(r.stdout, "may not search") != 1 ||
		!strings.Contains(r.stdout, "chmod o+x "+graph+"\n") {
		t.Errorf("%s is not the only directory named: %+v", graph, r)
	}
}
