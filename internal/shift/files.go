package shift

import (
	"bytes"
	"fmt"

	"palisade/internal/idattr"
	"palisade/internal/sys"
)

// readAttrs reads the extended attributes of a file that matter. i is what is known of it.
func readAttrs(j journal, f sys.File, i *sys.Inode, r *rules) (*attrs, error) {
	names, err := f.AttrNames()
	if err != nil {
		return nil, err
	}
	a := new(attrs)
	var recorded []byte
	for _, name := range names {
		var value *[]byte
		switch name {
		case idattr.Caps:
			value = &a.caps
		case idattr.AccessACL:
			value = &a.access
		case idattr.DefaultACL:
			value = &a.deflt
		case recordAttr:
			value = &recorded
		case stateAttr:
			a.isRoot = true
			continue
		default:
			continue
		}
		if *value, err = f.Attr(name); err != nil {
			return nil, err
		}
	}
	if i.HasSetID() || recorded != nil || a.caps != nil || !i.IsDir() {
		if recorded, err = j.record(i, recorded); err != nil {
			return nil, err
		}
	}
	if recorded != nil && err == nil {
		known, err := decodeRecord(recorded)
		if a.isForeign = err != nil || r.run == 0 || known.run != r.run; !a.isForeign {
			a.record = known
		}
	}
	return a, err
}

// matters tells whether an extended attribute is one that is looked at. With SELinux, for one, all files have others.
func matters(name string) bool {
	switch name {
	case idattr.Caps, idattr.AccessACL, idattr.DefaultACL, recordAttr, stateAttr:
		return true
	}
	return false
}

// isSpecialName tells whether the file name in the directory, which becomes the worker's working directory, has an extended
// attribute that matters.
func (w *worker) isSpecialName(d *dir, name sys.Name) (bool, error) {
	if w.at != d {
		if err := w.Enter(d.file); err != nil {
			return false, err
		}
		w.at = d
	}
	list, complete, err := w.AttrList(name, w.attrs)
	return !complete || hasOneThatMatters(list), err
}

// isSpecialDir tells the same of a directory.
func (w *worker) isSpecialDir(d *dir) (bool, error) {
	list, complete, err := d.file.AttrList(w.attrs)
	return !complete || hasOneThatMatters(list), err
}

func hasOneThatMatters(list []byte) bool {
	for len(list) > 0 {
		end := bytes.IndexByte(list, 0)
		if end < 0 {
			return true // the kernel does not do that
		}
		if matters(string(list[:end])) {
			return true
		}
		list = list[end+1:]
	}
	return false
}

// file is one that is being visited: the name of one in a directory, or a directory that is open. The root directory has no
// name.
type file struct {
	dir    *dir
	name   sys.Name
	open   sys.File
	number uint64
}

// named is the file name in the directory.
func (d *dir) named(name sys.Name) file { return file{dir: d, name: name} }

func (f *file) isRoot() bool { return f.dir == nil }

// pathNumber is the number of its path.
func (f *file) pathNumber() uint64 {
	if f.open.IsOpen() {
		return f.number
	}
	return pathHash(f.dir.number, f.name)
}

func (f *file) quoted() string {
	if f.isRoot() {
		return `"."`
	}
	return fmt.Sprintf("%q", f.dir.path(f.name.String()))
}

// seen is a file that is being looked at closely.
type seen struct {
	file  sys.File
	inode sys.Inode
	attrs *attrs
	plan  plan
	// isOwn tells that the open file is only seen's.
	isOwn bool
}

func (s *seen) close() {
	if s.isOwn {
		s.file.Close()
	}
}

// look opens a file, unless it is open, and plans what is to be done. It is to be closed.
func (t *tree) look(f *file, r *rules) (*seen, error) {
	s := &seen{file: f.open}
	if !f.open.IsOpen() {
		var err error
		if s.file, err = f.dir.file.OpenNamedAt(f.name); err != nil {
			return nil, err
		}
		s.isOwn = true
	}
	if err := t.planFile(s, r); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// planFile looks at an open file and plans what is to be done.
func (t *tree) planFile(s *seen, r *rules) (err error) {
	if s.inode, err = s.file.Look(); err != nil {
		return err
	}
	if s.attrs, err = readAttrs(t.journal, s.file, &s.inode, r); err != nil {
		return err
	}
	s.plan, err = r.plan(&s.inode, s.attrs)
	return err
}

// carryOut does what is planned for a file, in an order in which it may be killed at any time: what a chown destroys is
// recorded before it, and restored from the record.
func (t *tree) carryOut(s *seen) error {
	f, p := s.file, &s.plan
	if p.record != nil {
		if err := t.journal.setRecord(f, &s.inode, p.record.encode()); err != nil {
			return err
		}
	}
	if p.chown {
		if err := f.Chown(p.uid, p.gid); err != nil {
			return err
		}
	}
	if p.setMode {
		if err := f.Chmod(p.mode); err != nil {
			return err
		}
	}
	for _, acl := range []struct {
		name  string
		value []byte
	}{{idattr.AccessACL, p.access}, {idattr.DefaultACL, p.deflt}} {
		if acl.value == nil {
			continue
		}
		if err := f.SetAttr(acl.name, acl.value); err != nil {
			return err
		}
	}
	var err error
	switch {
	case p.setCaps:
		err = f.SetAttr(idattr.Caps, p.caps)
	case p.removeCaps:
		err = f.RemoveAttr(idattr.Caps)
	}
	if err == nil && p.removeRecord {
		err = t.journal.removeRecord(f, &s.inode)
	}
	return err
}
