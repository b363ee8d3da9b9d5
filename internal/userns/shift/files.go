package shift

import (
	"bytes"
	"fmt"

	"palisade/internal/sys"
	"palisade/internal/userns/idattr"
)

// readAttrs reads the extended attributes that a shift changes or uses.
func (n *inode) readAttrs(j *journal, r *rules) (a *attrs, err error) {
	names, err := n.file.AttrNames()
	if err != nil {
		return nil, err
	}
	a = new(attrs)
	hasRecord := false
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
			hasRecord = true
			continue
		case stateAttr:
			a.isRoot = true
			continue
		default:
			continue
		}
		if *value, err = n.file.Attr(name); err != nil {
			return nil, err
		}
	}
	if n.HasSetID() || hasRecord || a.caps != nil || !n.IsDir() {
		a.record, a.isForeign, err = j.record(n.file, hasRecord, r.run)
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
		w.at, w.atFiles = d, false
	}
	list, complete, err := w.AttrList(name, w.attrs)
	return !complete || hasOneThatMatters(list), err
}

// isSpecialDir tells the same of a directory.
func (w *worker) isSpecialDir(d *dir) (bool, error) {
	list, complete, err := d.file.AttrList(w.attrs)
	return !complete || hasOneThatMatters(list), err
}

// isSpecialOpen is isSpecialName for an open file.
func (w *worker) isSpecialOpen(n *inode) (bool, error) {
	if !w.atFiles {
		if err := w.EnterOpenFiles(); err != nil {
			return false, err
		}
		w.at, w.atFiles = nil, true
	}
	list, complete, err := w.OpenAttrList(n.file, w.attrs)
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
	dir  *dir
	name sys.Name
	open sys.File
}

// named is the file name in the directory.
func (d *dir) named(name sys.Name) file { return file{dir: d, name: name} }

func (f *file) isRoot() bool { return f.dir == nil }

// at returns a directory and a name in it that lead to the file.
func (f *file) at() (sys.File, sys.Name) {
	if f.open.IsOpen() {
		return f.open, noName
	}
	return f.dir.file, f.name
}

func (f *file) quoted() string {
	if f.isRoot() {
		return `"."`
	}
	return fmt.Sprintf("%q", f.dir.path(f.name.String()))
}
