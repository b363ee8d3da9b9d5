package shift

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"palisade/internal/linux/sys"
	"palisade/internal/oci/idmap"
	"palisade/internal/userns/walk"
)

// TestInodeSet covers inodes on two file systems.
func TestInodeSet(t *testing.T) {
	a := make(inodeSet)
	other := sys.DeviceNumber{Major: 1}
	for n := range uint64(1000) {
		a.add(walk.InodeKey{Number: 3 * n})
		a.add(walk.InodeKey{FileSystem: other, Number: 64 * n})
	}
	for n := range uint64(3000) {
		if got, want := a.has(walk.InodeKey{Number: n}), n%3 == 0; got != want {
			t.Fatalf("%d: %v", n, got)
		}
		if got, want := a.has(walk.InodeKey{FileSystem: other, Number: n}), n%64 == 0; got != want {
			t.Fatalf("%d on the other: %v", n, got)
		}
	}
}

// TestChangesAreChecked checks that only the methods of inode and of the journal's stores change
// files of a tree.
func TestChangesAreChecked(t *testing.T) {
	changes := regexp.MustCompile(
		`\.(Chown|Chmod|SetAttr|RemoveAttr|SetFlags)\(|os\.L?[Cc]h(own|mod)\(`)
	var paths []string
	for _, dir := range []string{"walk", "journal", "shift"} {
		files, err := filepath.Glob("../" + dir + "/*.go")
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %d files, %v", dir, len(files), err)
		}
		paths = append(paths, files...)
	}
	found := 0
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		isAllowed := path == "../shift/inode.go" || path == "../journal/store.go" ||
			strings.HasSuffix(path, "_test.go")
		for _, call := range changes.FindAllString(string(text), -1) {
			if found++; !isAllowed {
				t.Errorf("%s calls %s", path, call)
			}
		}
	}
	if found < 5 {
		t.Errorf("only %d calls are found", found)
	}
}

// TestMissedByStep covers the second of two steps: an id that the first step changes, and does not
// produce, belongs to a file that the first step has missed.
func TestMissedByStep(t *testing.T) {
	m := idmap.Map{{Host: 1000, Size: 64000}}
	change := idmap.Change{To: idmap.Pair{UID: m, GID: m}, Park: 1 << 20}
	steps, err := change.Steps()
	if err != nil || len(steps) != 2 {
		t.Fatalf("%v, %v", steps, err)
	}
	r := &rules{Step: change.Total(), previous: &steps[0], next: &steps[1]}
	for id, want := range map[uint32]bool{
		0: true, 999: true, 1000: false, 5000: false, 64999: false, 1 << 20: false, 70000: false,
	} {
		if got := r.isMissed(&sys.Inode{UID: id, GID: 1000}); got != want {
			t.Errorf("uid %d: %v", id, got)
		}
		if got := r.isMissed(&sys.Inode{UID: 1000, GID: id}); got != want {
			t.Errorf("gid %d: %v", id, got)
		}
	}
	if (&rules{Step: steps[0]}).isMissed(&sys.Inode{}) {
		t.Error("a file is missed before the first step")
	}
}
