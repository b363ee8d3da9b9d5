package walk

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"palisade/internal/linux/sys"
)

// recorder counts how often each file is visited. All workers share it.
type recorder struct {
	mu      sync.Mutex
	visits  map[string]int
	onVisit func()
}

func (r *recorder) Enter(d *Dir) error {
	i, err := d.File.Statx()
	d.Key = KeyOf(&i)
	return err
}

func (r *recorder) Visit(_ *sys.Thread, d *Dir, name sys.Name, _ bool) (bool, error) {
	var i sys.Inode
	err := d.File.StatxAt(name, &i) // the directory is open
	r.mu.Lock()
	defer r.mu.Unlock()
	r.visits[d.Path(name.String())]++
	if r.onVisit != nil {
		r.onVisit()
	}
	return i.IsDir(), err
}

// createTree creates a deep tree with branches at each level and a wide directory, and returns the
// number of files in it.
func createTree(t *testing.T, root string) (files int) {
	t.Helper()
	at := root
	add := func(path string, err error) {
		if err != nil {
			t.Fatal(err)
		}
		files++
	}
	for level := range 60 {
		for branch := range 3 {
			path := filepath.Join(at, fmt.Sprintf("b%d", branch))
			add(path, os.Mkdir(path, 0o755))
			path = filepath.Join(path, "f")
			add(path, os.WriteFile(path, nil, 0o644))
		}
		at = filepath.Join(at, fmt.Sprintf("l%d", level%2))
		add(at, os.Mkdir(at, 0o755))
	}
	for n := range 3000 {
		path := filepath.Join(at, fmt.Sprintf("a-rather-long-name-%d", n))
		add(path, os.WriteFile(path, nil, 0o644))
	}
	return files
}

// TestWalk checks that each file is visited once, also if few directories may be open.
func TestWalk(t *testing.T) {
	dir := t.TempDir()
	want := createTree(t, dir)
	for _, tt := range []struct {
		jobs    int
		maxOpen int64
	}{{1, 0}, {1, 2}, {4, 0}, {4, 5}, {8, 1}} {
		for range 5 {
			root, err := sys.OpenDir(dir)
			if err != nil {
				t.Fatal(err)
			}
			r := &recorder{visits: make(map[string]int)}
			visitors := make([]Visitor, tt.jobs)
			for i := range visitors {
				visitors[i] = r
			}
			k := &Walk{openDirs: openDirs{maxOpen: tt.maxOpen}}
			err = k.Run(t.Context(), root, visitors)
			root.Close()
			if err != nil || len(r.visits) != want {
				t.Fatalf("%+v: %d files of %d, %v", tt, len(r.visits), want, err)
			}
			for path, n := range r.visits {
				if n != 1 {
					t.Errorf("%+v: %q was visited %d times", tt, path, n)
				}
			}
			if open := k.open.Load(); open != 1 { // Run does not count its close of the root
				t.Errorf("%+v: %d directories stay open", tt, open)
			}
		}
	}
}

// TestWalkStops cancels the context of a walk.
func TestWalkStops(t *testing.T) {
	dir := t.TempDir()
	want := createTree(t, dir)
	root, err := sys.OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	ctx, cancel := context.WithCancel(t.Context())
	k := new(Walk)
	r := &recorder{visits: make(map[string]int)}
	r.onVisit = func() {
		if len(r.visits) == 50 {
			cancel()
			for !k.stopped.Load() {
			}
		}
	}
	err = k.Run(ctx, root, []Visitor{r, r, r})
	if err == nil || len(r.visits) >= want/2 || k.open.Load() != 1 {
		t.Errorf("%v, %d files, %d open", err, len(r.visits), k.open.Load())
	}
}

func TestFailures(t *testing.T) {
	var f failures
	if f.err() != nil {
		t.Error("nothing failed")
	}
	for n := range 7 {
		f.add(fmt.Sprintf("a\n%d", n), fs.ErrPermission)
	}
	want := `files that failed: 7: "a\n0": permission denied; "a\n1": permission denied; ` +
		`"a\n2": permission denied; "a\n3": permission denied; "a\n4": permission denied; ` +
		"and 2 more"
	if got := f.err().Error(); got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
}
