package shift

import (
	"errors"

	"palisade/internal/idattr"
	"palisade/internal/idmap"
	"palisade/internal/sys"
)

// inode is an open file of the tree. Whatever is changed of a file is changed through one, by its
// methods alone: it stays the file that was looked at, though a name may be another file's by then.
type inode struct {
	file sys.File
	// Inode is what was found of the file last.
	sys.Inode
	attrs *attrs
	plan  plan
	// isReference reports that the file is open for the inode alone.
	isReference bool
}

// openInode opens a file, unless it is open. A device, FIFO or socket is not touched.
func openInode(n *inode, f *file) (err error) {
	*n = inode{file: f.open}
	if !f.open.IsOpen() {
		if n.file, err = f.dir.file.OpenNamedAt(f.name); err != nil {
			return err
		}
		n.isReference = true
	}
	if err = n.look(); err != nil {
		n.close()
	}
	return err
}

func (n *inode) close() {
	if n.isReference {
		n.file.CloseReference()
	}
}

func (n *inode) look() error { return n.file.InodeAt(noName, &n.Inode) }

// errLinked is the error for a file that got another name after the names were counted: it may be
// one of a file outside, which is not to be changed.
var errLinked = errors.New(
	"it has more names than were found in the tree; they were made meanwhile")

// chown changes the owner and group.
func (n *inode) chown(uid, gid uint32) error {
	before := n.Inode
	if err := n.file.Chown(uid, gid); err != nil {
		return err
	}
	return n.lookAgain(&before)
}

// lookAgain looks at a file that was changed. What has got another name meanwhile gets its owner
// back: the kernel cannot be told to change only a file that has one.
func (n *inode) lookAgain(before *sys.Inode) error {
	if err := n.look(); err != nil {
		return err
	}
	if n.Links > before.Links && !n.IsDir() {
		return errors.Join(errLinked, n.file.Chown(before.UID, before.GID))
	}
	return nil
}

func (n *inode) chmod(mode uint32) error { return n.file.Chmod(mode) }

func (n *inode) setFlags(flags uint32) error { return n.file.SetFlags(flags) }

// isPrivileged reports whether the file, once its plan is carried out, is a program that gives who
// executes it the ids or capabilities of another user than before.
func (n *inode) isPrivileged() bool {
	restored := sys.Inode{Mode: n.plan.mode}
	return n.HasSetID() && n.plan.chown || n.plan.setMode && restored.HasSetID() ||
		n.attrs.caps != nil && n.plan.capsKind == idmap.Moved
}

// makePlan finds out what is to be done.
func (n *inode) makePlan(j *journal, r *rules) (err error) {
	if err = n.look(); err != nil {
		return err
	}
	if n.attrs, err = n.readAttrs(j, r); err != nil {
		return err
	}
	n.plan, err = r.plan(&n.Inode, n.attrs)
	return err
}

// apply does what is planned for a file, in an order in which it may be killed at any time: what a
// chown destroys is recorded before it, and restored from the record.
func (n *inode) apply(j *journal) error {
	p, before := &n.plan, n.Inode
	if p.record != nil {
		if err := j.setRecord(n.file, p.record); err != nil {
			return err
		}
	}
	if p.chown {
		if err := n.chown(p.uid, p.gid); err != nil {
			return err
		}
	}
	if p.setMode {
		if err := n.chmod(p.mode); err != nil {
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
		if err := n.file.SetAttr(acl.name, acl.value); err != nil {
			return err
		}
	}
	var err error
	switch {
	case p.setCaps:
		err = n.file.SetAttr(idattr.Caps, p.caps)
	case p.removeCaps:
		err = n.file.RemoveAttr(idattr.Caps)
	}
	if err == nil {
		err = n.lookAgain(&before)
	}
	if err == nil && p.removeRecord {
		err = j.dropRecord(n.file)
	}
	return err
}
