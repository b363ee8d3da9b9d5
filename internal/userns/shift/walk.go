package shift

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"palisade/internal/sys"
)

// walk goes through all files below a root directory.
type walk struct {
	// skip are the mount points below the root, which are not visited, where the root was not cloned.
	skip map[string]bool
	// mount is the number of the root's mount, if directories are to be held against it.
	mount int

	mu      sync.Mutex
	changed sync.Cond
	// tasks are those that no worker has.
	tasks   []task
	idle    atomic.Int32
	jobs    int
	stopped atomic.Bool
	// open is how many directories are open, maxOpen how many may be.
	open    atomic.Int64
	maxOpen int64

	failures failures
}

// run visits all files below root, with as many workers as there are visitors. It returns when all are visited or ctx ends.
func (k *walk) run(ctx context.Context, root sys.File, visitors []visitor) error {
	list, err := root.OpenSame()
	if err != nil {
		return err
	}
	defer list.Close()
	first := &dir{walk: k, file: list, pins: 1}
	first.users.Store(2) // the task, and this function, for the way to directories that are opened again
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
				w := &worker{Thread: thread, number: i, walk: k, buf: make([]byte, entriesBuffer), attrs: make([]byte, attrsBuffer),
					visitor: v}
				w.work()
				return nil
			})
		})
	}
	group.Wait()
	return errors.Join(append(errs, ctx.Err())...)
}

// next takes the task that was added last; it waits for one as long as somebody may add one.
func (k *walk) next() (task, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.idle.Add(1)
	for len(k.tasks) == 0 {
		if int(k.idle.Load()) == k.jobs {
			k.changed.Broadcast()
			return task{}, false // and it stays idle
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

func (k *walk) add(tasks ...task) {
	k.mu.Lock()
	k.tasks = append(k.tasks, tasks...)
	k.mu.Unlock()
	if k.idle.Load() > 0 {
		k.changed.Broadcast()
	}
}
