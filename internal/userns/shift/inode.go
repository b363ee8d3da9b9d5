package shift

import (
	"errors"

	"palisade/internal/idmap"
	"palisade/internal/sys"
	"palisade/internal/userns/idattr"
)

// inode is an open file of the tree. Files are changed only through its methods, so that the file
// that is changed is the one that was checked, even if its name has been reused.
type inode struct {
	file sys.File
	// Inode is the result of the last look.
	sys.Inode
	attrs *attrs
	plan  plan
	// ownsFile reports that close must close file.
	ownsFile bool
}

// openInode opens a file with O_PATH, unless it is open already. Devices, FIFOs and sockets are not
// opened for I/O.
func openInode(n *inode, f *file) (err error) {
	*n = inode{file: f.open}
	if !f.open.IsOpen() {
		if n.file, err = f.dir.file.OpenNamedAt(f.name); err != nil {
			return err
		}
		n.ownsFile = true
	}
	if err = n.look(); err != nil {
		n.close()
	}
	return err
}

func (n *inode) close() {
	if n.ownsFile {
		n.file.CloseReference()
	}
}

func (n *inode) look() error { return n.file.InodeAt(noName, &n.Inode) }

// errLinked is the error for a file that gained a link after the links were counted: it may be a
// file outside the tree, which must not be changed.
var errLinked = errors.New(
	"it has more links than were found in the tree; they were made meanwhile")

func (n *inode) chown(uid, gid uint32) error {
	before := n.Inode
	if err := n.file.Chown(uid, gid); err != nil {
		return err
	}
	return n.checkLinks(&before)
}

// checkLinks updates n after a change, and restores the owner of a file that has gained a link
// since before. It cannot be prevented: no system call changes a file only if it has one link.
func (n *inode) checkLinks(before *sys.Inode) error {
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

// isPrivileged reports whether the plan makes the file a program that runs with other ids or
// capabilities than before.
func (n *inode) isPrivileged() bool {
	restored := sys.Inode{Mode: n.plan.mode}
	return n.HasSetID() && n.plan.chown || n.plan.setMode && restored.HasSetID() ||
		n.attrs.caps != nil && n.plan.capsKind == idmap.Moved
}

// buildPlan reads the file's attributes and sets n.plan.
func (n *inode) buildPlan(j *journal, r *rules) (err error) {
	if err = n.look(); err != nil {
		return err
	}
	if n.attrs, err = n.readAttrs(j, r); err != nil {
		return err
	}
	n.plan, err = r.plan(&n.Inode, n.attrs)
	return err
}

// apply carries out the plan. It may be killed at any point: a chown clears set-id bits and
// capabilities, so these are recorded before it and restored from the record.
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
		err = n.checkLinks(&before)
	}
	if err == nil && p.removeRecord {
		err = j.dropRecord(n.file)
	}
	return err
}
