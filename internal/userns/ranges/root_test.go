//go:build integration

package ranges

import (
	"os"
	"testing"

	"palisade/internal/linux/sys"
	"palisade/internal/oci/idmap"
)

// TestTreeGone checks that the range of a tree is freed when the tree is deleted, not when it is
// renamed or its path belongs to another directory.
func TestTreeGone(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("open_by_handle_at(2) needs CAP_DAC_READ_SEARCH")
	}
	h := newHost(t, machine1, t.TempDir())
	dir := t.TempDir()
	path := dir + "/above/tree"
	if err := os.MkdirAll(path, 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := sys.OpenDir(path)
	if err != nil {
		t.Fatal(err)
	}
	tree, err := TreeAt(f, path)
	f.Close()
	if err != nil {
		t.Fatal(err)
	}
	q := Request{Registry: h.Registry}
	if _, err := q.ForTree(t.Context(), tree, idmap.Pair{}); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		name string
		do   func() error
		want Use
	}{
		{"as it is", func() error { return nil }, Used},
		{"renamed", func() error { return os.Rename(dir+"/above", dir+"/renamed") }, Used},
		{"replaced", func() error { return os.MkdirAll(path, 0o755) }, Used},
		{"deleted and replaced", func() error { return os.RemoveAll(dir + "/renamed") }, Unused},
		{"deleted", func() error { return os.RemoveAll(dir + "/above") }, Unused},
	} {
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		if got := h.uses(t)[path]; got != step.want {
			t.Errorf("%s: %s, want %s", step.name, got, step.want)
		}
	}
	unmounted := tree
	unmounted.FileSystem = "0000000000000000"
	for _, other := range []Tree{unmounted, {Path: path, FileSystem: temporary + "0", Handle: tree.Handle},
		{Path: "relative", FileSystem: tree.FileSystem, Handle: tree.Handle},
		{Path: path, FileSystem: tree.FileSystem, Handle: append(noHandle, 1)}} {
		if other.isGone() {
			t.Errorf("%+v is gone", other)
		}
	}
}
