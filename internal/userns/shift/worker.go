package shift

import (
	"slices"

	"palisade/internal/sys"
)

// task is a directory to visit, by its name in another one; or files of a large directory, of which somebody has read the
// names already, or which are known.
type task struct {
	dir     *dir
	name    sys.Name
	entries sys.Entries
	isKnown bool
	chunk   *chunk
}

// visitor is called for each file but the root directory, by several workers at once.
type visitor interface {
	// enter is called for each directory when it is open, the root directory included.
	enter(w *worker, d *dir) error
	// visit is called for each file in the directory d. It tells whether the file is a directory, which is entered then.
	// code is what is known of it.
	visit(w *worker, d *dir, name sys.Name, code uint16) (isDir bool)
	// visited is called when the files were visited of which c is to remember something, which is nil if nothing is.
	visited(c *chunk)
}

// worker visits files on a thread of its own.
type worker struct {
	*sys.Thread
	number int
	inode  sys.Inode
	// opened is the file that is being changed.
	opened inode
	walk   *walk
	// tasks are its own.
	tasks []task
	// at is the thread's working directory if it is one of the tree; atFiles reports that it is
	// /proc/self/fd.
	at      *dir
	atFiles bool
	buf     []byte
	attrs   []byte
	visitor
}

// entriesBuffer is how much of a directory is read at once, attrsBuffer how much of the names of a file's attributes.
const (
	entriesBuffer = 32 << 10
	attrsBuffer   = 512
)

func (w *worker) work() {
	for {
		t, ok := w.next()
		if !ok {
			return
		}
		switch {
		case t.entries != nil, t.isKnown:
			if t.isKnown {
				w.visitKnown(t.dir, t.chunk)
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

// next takes the last of its own tasks, so that what it works on is near together, or one that another worker has left.
func (w *worker) next() (task, bool) {
	last := len(w.tasks) - 1
	if last < 0 {
		return w.walk.next()
	}
	t := w.tasks[last]
	w.tasks[last] = task{}
	w.tasks = w.tasks[:last]
	w.share()
	return t, true
}

// share leaves the older half of its tasks to others, if one of them has nothing to do.
func (w *worker) share() {
	if w.walk.idle.Load() == 0 || len(w.tasks) == 0 {
		return
	}
	half := (len(w.tasks) + 1) / 2
	w.walk.add(w.tasks[:half]...)
	w.tasks = slices.Delete(w.tasks, 0, half)
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
	d := &dir{walk: w.walk, parent: t.dir, name: t.name, file: file, pins: 1}
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
		err = errMountedOn
	}
	if err != nil {
		file.Close()
	}
	return file, err
}

// visitDir visits a directory and its files.
func (w *worker) visitDir(d *dir) {
	if d == nil {
		return
	}
	defer d.done()
	defer d.unpin()
	err := w.enter(w, d)
	switch {
	case err != nil:
	case d.known != nil:
		w.visitChunk(d, &d.known.first, true)
		for _, c := range d.known.more {
			w.visitChunk(d, c, false)
		}
	default:
		err = w.list(d)
	}
	if err != nil {
		w.fail(d, "", err)
	}
}

// visitChunk visits files that are known, or leaves them to somebody who has nothing to do.
func (w *worker) visitChunk(d *dir, c *chunk, isFirst bool) {
	if isFirst || w.walk.idle.Load() == 0 {
		w.visitKnown(d, c)
		return
	}
	d.use()
	w.walk.add(task{dir: d, isKnown: true, chunk: c})
}

// list reads a directory and visits its files. Where somebody else has nothing to do, parts of it are left to them.
func (w *worker) list(d *dir) error {
	for number := 0; !w.walk.stopped.Load(); number++ {
		entries, err := d.file.ReadEntries(w.buf)
		if err != nil {
			return err
		}
		if len(entries) == 0 {
			if d.memo != nil {
				d.memo.read = true
			}
			return nil
		}
		c := d.memo.next(number)
		if len(entries) > len(w.buf)/2 && w.walk.idle.Load() > 0 {
			d.use()
			w.walk.add(task{dir: d, entries: slices.Clone(entries), chunk: c})
			continue
		}
		w.visitAll(d, entries, c)
	}
	return nil
}

func (w *worker) visitAll(d *dir, entries sys.Entries, c *chunk) {
	for !w.walk.stopped.Load() {
		e, ok := entries.Next()
		if !ok {
			break
		}
		if len(w.walk.skip) > 0 && w.walk.skip[d.path(e.Name.String())] {
			continue
		}
		code := uint16(lookCode)
		if e.IsDir {
			code = dirCode
		}
		if w.visit(w, d, e.Name, code) {
			w.addDir(d, slices.Clone(e.Name))
		}
	}
	w.visited(c)
	w.share()
}

func (w *worker) visitKnown(d *dir, c *chunk) {
	for rest := c.entries; len(rest) > 0 && !w.walk.stopped.Load(); {
		var name sys.Name
		var code uint16
		name, code, rest = cut(rest)
		if w.visit(w, d, name, code) {
			w.addDir(d, name)
		}
	}
	w.share()
}

func (w *worker) addDir(d *dir, name sys.Name) {
	d.users.Add(1)
	w.tasks = append(w.tasks, task{dir: d, name: name})
}

func (w *worker) fail(d *dir, name string, err error) { w.walk.failures.add(d.path(name), err) }
