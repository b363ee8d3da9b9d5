package shift

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"

	"palisade/internal/sys"
)

// task is a directory to visit, by its name in another one; or files of a large directory, which somebody has read already.
type task struct {
	dir     *dir
	name    sys.Name
	entries sys.Entries
	chunk   *chunk
}

// visitor is called for each file but the root directory, by several workers at once.
type visitor interface {
	// enter is called for each directory when it is open, the root directory included.
	enter(w *worker, d *dir) error
	// visit is called for each file in the directory d, which is the worker's working directory. It tells whether the file
	// is a directory, which is entered then. c is for what is remembered of it.
	visit(w *worker, d *dir, e sys.Entry, c *chunk) (isDir bool)
}

// worker visits files on a thread of its own.
type worker struct {
	*sys.Thread
	number int
	inode  sys.Inode
	walk   *walk
	buf    []byte
	attrs  []byte
	known  []known
	visitor
}

// walk goes through all files below a root directory.
type walk struct {
	// skip are the mount points below the root, which are not visited, where the root was not cloned.
	skip map[string]bool
	// mount is the number of the root's mount, if directories are to be held against it.
	mount int

	mu      sync.Mutex
	changed sync.Cond
	tasks   []task
	idle    atomic.Int32
	jobs    int
	stopped atomic.Bool
	// open is how many directories are open, maxOpen how many may be.
	open    atomic.Int64
	maxOpen int64

	failures failures
}

// entriesBuffer is how much of a directory is read at once, attrsBuffer how much of the names of a file's attributes.
const (
	entriesBuffer = 32 << 10
	attrsBuffer   = 512
)

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

func (w *worker) work() {
	for {
		t, ok := w.walk.next()
		if !ok {
			return
		}
		switch {
		case t.entries != nil:
			if err := w.Enter(t.dir.file); err != nil {
				w.fail(t.dir, "", err)
			} else {
				w.visitAll(t.dir, t.entries, t.chunk)
			}
			t.dir.unpin()
			t.dir.done()
		case t.name == nil:
			w.visitDir(t.dir)
		default:
			w.visitDir(w.open(t))
		}
	}
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
	if len(tasks) == 0 {
		return
	}
	k.mu.Lock()
	k.tasks = append(k.tasks, tasks...)
	k.mu.Unlock()
	if k.idle.Load() > 0 {
		k.changed.Broadcast()
	}
}

// open opens the directory of a task, nil if that fails.
func (w *worker) open(t task) *dir {
	defer t.dir.done()
	if w.walk.stopped.Load() {
		return nil
	}
	if w.walk.open.Load() >= w.walk.maxOpen {
		t.dir.closeAncestor()
	}
	file, err := w.openIn(t.dir, t.name)
	if err != nil {
		w.fail(t.dir, t.name.String(), err)
		return nil
	}
	w.walk.open.Add(1)
	d := &dir{walk: w.walk, parent: t.dir, name: t.name, file: file, number: pathHash(t.dir.number, t.name), pins: 1}
	d.users.Store(1)
	return d
}

func (w *worker) openIn(d *dir, name sys.Name) (file sys.File, err error) {
	if err := d.pin(); err != nil {
		return file, err
	}
	defer d.unpin()
	if file, err = d.file.OpenListing(name); err != nil || w.walk.mount == 0 {
		return file, err
	}
	id, err := file.MountID()
	if err == nil && id != w.walk.mount {
		err = errors.New("something is mounted on it")
	}
	if err != nil {
		file.Close()
	}
	return file, err
}

// visitDir visits the files of a directory. Where somebody else has nothing to do, parts of it are left to them.
func (w *worker) visitDir(d *dir) {
	if d == nil {
		return
	}
	defer d.done()
	defer d.unpin()
	err := w.Enter(d.file)
	if err == nil {
		err = w.enter(w, d)
	}
	for number := 0; err == nil && !w.walk.stopped.Load(); number++ {
		var entries sys.Entries
		entries, err = d.file.ReadEntries(w.buf)
		if err != nil || len(entries) == 0 {
			break
		}
		c := d.memo.chunk(number)
		if len(entries) > len(w.buf)/2 && w.walk.idle.Load() > 0 {
			d.users.Add(1)
			d.mu.Lock()
			d.pins++
			d.mu.Unlock()
			w.walk.add(task{dir: d, entries: slices.Clone(entries), chunk: c})
			continue
		}
		w.visitAll(d, entries, c)
	}
	if err != nil {
		w.fail(d, "", err)
	}
}

func (w *worker) visitAll(d *dir, entries sys.Entries, c *chunk) {
	var subdirs []task
	c.begin(w)
	defer c.end(w)
	for !w.walk.stopped.Load() {
		e, ok := entries.Next()
		if !ok {
			break
		}
		if len(w.walk.skip) > 0 && w.walk.skip[d.path(e.Name.String())] {
			continue
		}
		if w.visit(w, d, e, c) {
			d.users.Add(1)
			subdirs = append(subdirs, task{dir: d, name: slices.Clone(e.Name)})
		}
	}
	w.walk.add(subdirs...)
}

func (w *worker) fail(d *dir, name string, err error) { w.walk.failures.add(d.path(name), err) }
