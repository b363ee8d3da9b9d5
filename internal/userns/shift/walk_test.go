package shift

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"palisade/internal/sys"
)

// recorder is the visitor of a test: it counts how often each file is visited.
type recorder struct {
	mu      sync.Mutex
	visits  map[string]int
	onVisit func()
}

func (r *recorder) enter(w *worker, d *dir) error {
	if err := d.file.InodeAt(sys.Name{0}, &w.inode); err != nil {
		return err
	}
	d.key = keyOf(&w.inode)
	return nil
}

func (r *recorder) visit(w *worker, d *dir, name sys.Name, code uint16) bool {
	if err := d.file.InodeAt(name, &w.inode); err != nil { // the directory is open
		w.fail(d, name.String(), err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.visits[d.path(name.String())]++
	if r.onVisit != nil {
		r.onVisit()
	}
	return w.inode.IsDir()
}

func (r *recorder) visited(*chunk) {}

// bushes makes a tree that is deep, has branches at each level, and a wide directory. It returns how many files are in it.
func bushes(t *testing.T, root string) (files int) {
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

// TestWalk visits all files once, with several workers, also if only few directories may be open.
func TestWalk(t *testing.T) {
	dir := t.TempDir()
	want := bushes(t, dir)
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
			visitors := make([]visitor, tt.jobs)
			for i := range visitors {
				visitors[i] = r
			}
			k := &walk{maxOpen: tt.maxOpen}
			err = k.run(t.Context(), root, visitors)
			root.Close()
			if err != nil || k.failures.err() != nil || len(r.visits) != want {
				t.Fatalf("%+v: %d files of %d, %v, %v", tt, len(r.visits), want, err, k.failures.err())
			}
			for path, n := range r.visits {
				if n != 1 {
					t.Errorf("%+v: %q was visited %d times", tt, path, n)
				}
			}
			if open := k.open.Load(); open != 1 { // the root directory, which run has closed
				t.Errorf("%+v: %d directories stay open", tt, open)
			}
		}
	}
}

// TestWalkStops has a walk that is told to stop.
func TestWalkStops(t *testing.T) {
	dir := t.TempDir()
	want := bushes(t, dir)
	root, err := sys.OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	ctx, cancel := context.WithCancel(t.Context())
	k := new(walk)
	r := &recorder{visits: make(map[string]int)}
	r.onVisit = func() {
		if len(r.visits) == 50 {
			cancel()
			for !k.stopped.Load() {
			}
		}
	}
	if err := k.run(ctx, root, []visitor{r, r, r}); err == nil || len(r.visits) >= want/2 || k.open.Load() != 1 {
		t.Errorf("%v, %d files, %d open", err, len(r.visits), k.open.Load())
	}
}
