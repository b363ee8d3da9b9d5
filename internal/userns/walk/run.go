package walk

import (
	"context"
	"errors"
	"sync"

	"palisade/internal/linux/sys"
)

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
