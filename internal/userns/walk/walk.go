// Package walk visits all files of a directory tree with several workers. Files are named by open
// directories: no symbolic link is followed.
//
// Reading order: dir (open directories); walk (the queue, failures); worker.
package walk

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"palisade/internal/linux/sys"
)

// Visitor is called for the files of a tree, by one worker on a thread of its own.
type Visitor interface {
	// Enter is called with each directory after it is opened, the root directory included. It must
	// set Dir.Key.
	Enter(d *Dir) error
	// Visit is called with the name of each file except the root directory. It returns true for a
	// directory, which is entered later. isDir is false if the file system does not return the type.
	Visit(t *sys.Thread, d *Dir, name sys.Name, isDir bool) (bool, error)
}

// Walk is one walk through a tree.
type Walk struct {
	// Skip holds the mount points not to enter, by their paths below the root directory.
	Skip map[string]bool
	// MountID is the mount that all directories must be on; 0 allows any.
	MountID int

	mu      sync.Mutex
	changed sync.Cond
	tasks   []task
	idle    atomic.Int32
	jobs    int
	stopped atomic.Bool
	openDirs
	failures failures
}

// task is one of: a directory to visit, by its name in dir; entries already read from dir; dir
// itself, if it is the root.
type task struct {
	dir     *Dir
	name    sys.Name
	entries sys.Entries
}

// next removes the task added last, so that the walk goes into the depth first. It waits for a task
// as long as another worker is busy.
func (k *Walk) next() (task, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.idle.Add(1)
	for len(k.tasks) == 0 {
		if int(k.idle.Load()) == k.jobs {
			k.changed.Broadcast()
			return task{}, false // this worker stays idle
		}
		k.changed.Wait()
	}
	k.idle.Add(-1)
	last := len(k.tasks) - 1
	t := k.tasks[last]
	k.tasks[last] = task{}
	k.tasks = k.tasks[:last]
	return t, true
}

func (k *Walk) add(tasks ...task) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.tasks = append(k.tasks, tasks...)
	k.changed.Broadcast()
}

// Run visits all files below root with one worker for each visitor. It returns when all files are
// visited or ctx ends. Failures of single files do not stop it; the error lists them.
func (k *Walk) Run(ctx context.Context, root sys.File, visitors []Visitor) error {
	list, err := root.ReopenDir()
	if err != nil {
		return err
	}
	defer list.Close()
	// The users are the task, and Run: closed directories are reopened from the root.
	first := &Dir{dirs: &k.openDirs, File: list, users: 2, pins: 1}
	k.changed.L = &k.mu
	k.jobs = len(visitors)
	k.open.Store(1)
	if k.maxOpen == 0 {
		k.maxOpen = maxOpen(k.jobs)
	}
	k.tasks = []task{{dir: first}}
	defer context.AfterFunc(ctx, func() { k.stopped.Store(true) })()
	var group sync.WaitGroup
	errs := make([]error, len(visitors))
	for i, v := range visitors {
		group.Go(func() {
			errs[i] = sys.OnOwnThread(func(thread *sys.Thread) error {
				w := &worker{thread: thread, walk: k, visitor: v, buf: make([]byte, entriesBuffer)}
				w.work()
				return nil
			})
		})
	}
	group.Wait()
	if err := errors.Join(append(errs, ctx.Err())...); err != nil {
		return err
	}
	return k.failures.err()
}

// Examples counts files with something in common, and describes the first ones.
type Examples struct {
	Count uint64
	first []string
}

const maxExamples = 5

// Add counts a file. It calls text only for one of the first.
func (x *Examples) Add(text func() string) {
	if x.Count++; len(x.first) < maxExamples {
		x.first = append(x.first, text())
	}
}

// List returns the descriptions, and after the word last how many more files there are.
func (x *Examples) List(separator, last string) string {
	text := strings.Join(x.first, separator)
	if more := x.Count - uint64(len(x.first)); more > 0 {
		text += fmt.Sprintf("%s%d more", last, more)
	}
	return text
}

// failures holds the files that failed.
type failures struct {
	mu    sync.Mutex
	files Examples
}

func (f *failures) add(path string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.files.Add(func() string { return fmt.Sprintf("%q: %v", path, err) })
}

// err returns nil if nothing failed. The caller must have waited for all calls of add.
func (f *failures) err() error {
	if f.files.Count == 0 {
		return nil
	}
	return fmt.Errorf("files that failed: %d: %s", f.files.Count, f.files.List("; ", "; and "))
}
