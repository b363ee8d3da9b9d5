package shift

import (
	"bytes"

	"palisade/internal/linux/sys"
	"palisade/internal/userns/idattr"
	"palisade/internal/userns/journal"
	"palisade/internal/userns/walk"
)

// attrProbe reports whether files have extended attributes that a shift changes or uses. It lists
// the names of attributes relative to the thread's working directory, since that takes one system
// call, and belongs to one worker.
type attrProbe struct {
	// cwd is the thread's working directory, nil if it is none of the tree; inOpenFiles reports that
	// it is /proc/self/fd.
	cwd         *walk.Dir
	inOpenFiles bool
	buf         []byte
}

func newAttrProbe() attrProbe { return attrProbe{buf: make([]byte, 512)} }

// hasSpecialName reports whether the file name in d has such attributes.
func (p *attrProbe) hasSpecialName(w *walk.Worker, d *walk.Dir, name sys.Name) (bool, error) {
	if p.cwd != d {
		if err := w.Enter(d.File); err != nil {
			return false, err
		}
		p.cwd, p.inOpenFiles = d, false
	}
	list, complete, err := w.AttrList(name, p.buf)
	return !complete || listsSpecial(list), err
}

// hasSpecialDir reports whether a directory has such attributes.
func (p *attrProbe) hasSpecialDir(d *walk.Dir) (bool, error) {
	list, complete, err := d.File.AttrList(p.buf)
	return !complete || listsSpecial(list), err
}

// hasSpecialOpen reports whether an open file has such attributes.
func (p *attrProbe) hasSpecialOpen(w *walk.Worker, f sys.File) (bool, error) {
	if !p.inOpenFiles {
		if err := w.EnterOpenFiles(); err != nil {
			return false, err
		}
		p.cwd, p.inOpenFiles = nil, true
	}
	list, complete, err := w.OpenAttrList(f, p.buf)
	return !complete || listsSpecial(list), err
}

// listsSpecial searches the names of a file's attributes. Others are ignored: with SELinux, all
// files have some.
func listsSpecial(list []byte) bool {
	for len(list) > 0 {
		end := bytes.IndexByte(list, 0)
		if end < 0 {
			return true // no kernel returns such a list
		}
		switch string(list[:end]) {
		case idattr.Caps, idattr.AccessACL, idattr.DefaultACL, journal.RecordAttr, journal.StateAttr:
			return true
		}
		list = list[end+1:]
	}
	return false
}
