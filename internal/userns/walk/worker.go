package walk

import (
	"slices"

	"palisade/internal/linux/sys"
)

// task is one of: a directory to visit, by its name in dir; dir itself, if it is the root; entries
// already read from dir; a chunk of dir's Replay.
type task struct {
	dir     *Dir
	name    sys.Name
	entries sys.Entries
	isKnown bool
	chunk   *Chunk
}

// pop removes the last task.
func pop(tasks *[]task) task {
	last := len(*tasks) - 1
	t := (*tasks)[last]
	(*tasks)[last] = task{}
	*tasks = (*tasks)[:last]
	return t
}

// Worker visits files on a thread of its own.
type Worker struct {
	*sys.Thread
	// Number is the index of the worker's visitor.
	Number  int
	walk    *Walk
	visitor Visitor
	// tasks are the worker's own.
	tasks []task
	buf   []byte
}

// entriesBuffer is the number of bytes of a directory that are read at once.
const entriesBuffer = 32 << 10

func (w *Worker) work() {
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
				w.visitEntries(t.dir, t.entries, t.chunk)
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

// next returns the last of the worker's own tasks, so that it works on files near to each other, or
// a task that another worker has left.
func (w *Worker) next() (task, bool) {
	if len(w.tasks) == 0 {
		return w.walk.next()
	}
	t := pop(&w.tasks)
	w.share()
	return t, true
}

// share leaves the older half of the worker's tasks to others if one of them is idle.
func (w *Worker) share() {
	if w.walk.idle.Load() == 0 || len(w.tasks) == 0 {
		return
	}
	half := (len(w.tasks) + 1) / 2
	w.walk.add(w.tasks[:half]...)
	w.tasks = slices.Delete(w.tasks, 0, half)
}

// open opens the directory of a task. It returns nil if that fails.
func (w *Worker) open(t task) *Dir {
	defer t.dir.done()
	if w.walk.stopped.Load() {
		return nil
	}
	if w.walk.open.Load() >= w.walk.maxOpen {
		t.dir.closeAncestor()
	}
	file, err := w.openIn(t.dir, t.name)
	if err != nil {
		w.Fail(t.dir, t.name.String(), err)
		return nil
	}
	w.walk.open.Add(1)
	d := &Dir{walk: w.walk, Parent: t.dir, Name: t.name, File: file, pins: 1}
	d.users.Store(1)
	return d
}

func (w *Worker) openIn(d *Dir, name sys.Name) (file sys.File, err error) {
	if err := d.pin(); err != nil {
		return file, err
	}
	defer d.unpin()
	if file, err = d.File.OpenListing(name); err != nil || w.walk.MountID == 0 {
		return file, err
	}
	id, err := file.MountID()
	if err == nil && id != w.walk.MountID {
		err = errMountPoint
	}
	if err != nil {
		file.Close()
	}
	return file, err
}

// visitDir visits a directory and its files.
func (w *Worker) visitDir(d *Dir) {
	if d == nil {
		return
	}
	defer d.done()
	defer d.unpin()
	err := w.visitor.Enter(w, d)
	switch {
	case err != nil:
	case d.Replay != nil:
		w.visitChunk(d, &d.Replay.first, true)
		for _, c := range d.Replay.more {
			w.visitChunk(d, c, false)
		}
	default:
		err = w.list(d)
	}
	if err != nil {
		w.Fail(d, "", err)
	}
}

// visitChunk visits the files of a chunk, or leaves them to an idle worker.
func (w *Worker) visitChunk(d *Dir, c *Chunk, isFirst bool) {
	if isFirst || w.walk.idle.Load() == 0 {
		w.visitKnown(d, c)
		return
	}
	d.use()
	w.walk.add(task{dir: d, isKnown: true, chunk: c})
}

// list reads a directory and visits its files. It leaves parts of a large one to idle workers.
func (w *Worker) list(d *Dir) error {
	for number := 0; !w.walk.stopped.Load(); number++ {
		entries, err := d.File.ReadEntries(w.buf)
		if err != nil {
			return err
		}
		if len(entries) == 0 {
			if d.Recording != nil {
				d.Recording.SetRead()
			}
			return nil
		}
		c := d.Recording.next(number)
		if len(entries) > len(w.buf)/2 && w.walk.idle.Load() > 0 {
			d.use()
			w.walk.add(task{dir: d, entries: slices.Clone(entries), chunk: c})
			continue
		}
		w.visitEntries(d, entries, c)
	}
	return nil
}

func (w *Worker) visitEntries(d *Dir, entries sys.Entries, c *Chunk) {
	for !w.walk.stopped.Load() {
		e, ok := entries.Next()
		if !ok {
			break
		}
		if len(w.walk.Skip) > 0 && w.walk.Skip[d.Path(e.Name.String())] {
			continue
		}
		code := uint16(CodeUnknown)
		if e.IsDir {
			code = CodeDir
		}
		if w.visitor.Visit(w, d, e.Name, code) {
			w.addDir(d, slices.Clone(e.Name))
		}
	}
	w.visitor.Visited(c)
	w.share()
}

func (w *Worker) visitKnown(d *Dir, c *Chunk) {
	for name, code := range c.All() {
		if w.walk.stopped.Load() {
			break
		}
		if w.visitor.Visit(w, d, name, code) {
			w.addDir(d, name)
		}
	}
	w.share()
}

func (w *Worker) addDir(d *Dir, name sys.Name) {
	d.users.Add(1)
	w.tasks = append(w.tasks, task{dir: d, name: name})
}

// Fail records a failure of the file name in d, or of d itself if name is empty.
func (w *Worker) Fail(d *Dir, name string, err error) { w.walk.failures.add(d.Path(name), err) }
