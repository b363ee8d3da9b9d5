// Package walk visits all files of a directory tree with several workers. Files are named by open
// directories: no symbolic link is followed.
//
// Reading order: failures; dir (open directories); walk (the queue); worker; run.
package walk

import (
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
