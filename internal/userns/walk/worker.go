package walk

import (
	"slices"

	"palisade/internal/linux/sys"
)

// worker visits files with a visitor of its own.
type worker struct {
	thread  *sys.Thread
	walk    *Walk
	visitor Visitor
	buf     []byte
}

// entriesBuffer is the number of bytes of a directory that are read at once.
const entriesBuffer = 32 << 10

func (w *worker) work() {
	for {
		t, ok := w.walk.next()
		if !ok {
			return
		}
		switch {
		case t.entries != nil:
			w.visitEntries(t.dir, t.entries)
			t.dir.use(-1, -1)
		case t.name == nil:
			w.visitDir(t.dir)
		default:
			w.openDir(t.dir, t.name)
		}
	}
}

func (w *worker) openDir(parent *Dir, name sys.Name) {
	defer parent.use(-1, 0)
	if w.walk.stopped.Load() {
		return
	}
	file, err := w.openIn(parent, name)
	if err != nil {
		w.fail(parent, name.String(), err)
		return
	}
	w.walk.open.Add(1)
	w.visitDir(&Dir{dirs: &w.walk.openDirs, Parent: parent, Name: name, File: file, users: 1, pins: 1})
}

func (w *worker) openIn(d *Dir, name sys.Name) (file sys.File, err error) {
	if err := d.pin(); err != nil {
		return file, err
	}
	defer d.use(0, -1)
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

func (w *worker) visitDir(d *Dir) {
	defer d.use(-1, -1)
	err := w.visitor.Enter(d)
	if err == nil {
		err = w.list(d)
	}
	if err != nil {
		w.fail(d, "", err)
	}
}

// list reads a directory and visits its files. It leaves parts of a large one to idle workers.
func (w *worker) list(d *Dir) error {
	for !w.walk.stopped.Load() {
		entries, err := d.File.ReadEntries(w.buf)
		if err != nil || len(entries) == 0 {
			return err
		}
		if len(entries) > len(w.buf)/2 && w.walk.idle.Load() > 0 {
			d.use(1, 1)
			w.walk.add(task{dir: d, entries: slices.Clone(entries)})
			continue
		}
		w.visitEntries(d, entries)
	}
	return nil
}

func (w *worker) visitEntries(d *Dir, entries sys.Entries) {
	var dirs []task
	for !w.walk.stopped.Load() {
		e, ok := entries.Next()
		if !ok {
			break
		}
		if len(w.walk.Skip) > 0 && w.walk.Skip[d.Path(e.Name.String())] {
			continue
		}
		isDir, err := w.visitor.Visit(w.thread, d, e.Name, e.IsDir)
		if err != nil {
			w.fail(d, e.Name.String(), err)
		} else if isDir {
			dirs = append(dirs, task{dir: d, name: slices.Clone(e.Name)})
		}
	}
	if len(dirs) > 0 {
		d.use(len(dirs), 0)
		w.walk.add(dirs...)
	}
}

// fail records a failure of the file name in d, or of d itself if name is empty.
func (w *worker) fail(d *Dir, name string, err error) { w.walk.failures.add(d.Path(name), err) }
