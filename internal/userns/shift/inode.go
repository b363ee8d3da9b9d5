package shift

import (
	"errors"
	"fmt"
	"slices"

	"palisade/internal/linux/sys"
	"palisade/internal/oci/idmap"
	"palisade/internal/userns/idattr"
	"palisade/internal/userns/journal"
	"palisade/internal/userns/walk"
)

// noName stands for the open file itself in functions that take a directory and a name.
var noName = sys.Name{0}

// file is a file during a walk: a name in an open directory, or a directory that is open itself.
// The root directory has no dir.
type file struct {
	dir  *walk.Dir
	name sys.Name
	open sys.File
}

func (f *file) isRoot() bool { return f.dir == nil }

func (f *file) quoted() string {
	if f.isRoot() {
		return `"."`
	}
	return fmt.Sprintf("%q", f.dir.Path(f.name.String()))
}

// inode is an open file of the tree. Files are changed only through its methods, so that the file
// that is changed is the one that was checked, even if its name has been reused.
type inode struct {
	file sys.File
	// Inode has the properties at the time of the last call of look.
	sys.Inode
	attrs attrs
	plan  plan
	// isProtected reports that an interrupted change has cleared the file's flags.
	isProtected bool
	// ownsFile reports that close must close file.
	ownsFile bool
}

// openInode opens a file with O_PATH, unless it is open already. Devices, FIFOs and sockets are not
// opened for I/O.
func openInode(f *file) (n inode, err error) {
	n.file = f.open
	if !f.open.IsOpen() {
		if n.file, err = f.dir.File.OpenPathAt(f.name.String()); err != nil {
			return n, err
		}
		n.ownsFile = true
	}
	if err = n.look(); err != nil {
		n.close()
	}
	return n, err
}

func (n *inode) close() {
	if n.ownsFile {
		n.file.Close()
	}
}

func (n *inode) look() error { return n.file.StatxAt(noName, &n.Inode) }

// errLinked is the error for a file that gained a link after the links were counted: it may be a
// file outside the tree, which must not be changed.
var errLinked = errors.New(
	"file has more links than were found in the tree; they were made meanwhile")

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

// setRoot sets the owner and mode of a root directory.
func (n *inode) setRoot(r journal.RootDir) error {
	if err := n.chown(r.UID, r.GID); err != nil {
		return err
	}
	return n.file.Chmod(r.Mode)
}

func (n *inode) setFlags(flags uint32) error { return n.file.SetFlags(flags) }

// isPrivileged reports whether the plan makes the file a program that runs with other ids or
// capabilities than before.
func (n *inode) isPrivileged() bool {
	restored := sys.Inode{Mode: n.plan.mode}
	return n.HasSetID() && n.plan.chown || n.plan.setMode && restored.HasSetID() ||
		n.attrs.caps != nil && n.plan.capsKind == idmap.Moved
}

// readAttrs reads the extended attributes that a shift changes or uses. isPending reports that the
// journal has a record of the file which is not among them.
func (n *inode) readAttrs(j *journal.Journal, run uint64, isPending bool) (a attrs, err error) {
	names, err := n.file.AttrNames()
	if err != nil {
		return a, err
	}
	for _, name := range names {
		if value := a.value(name); value != nil {
			if *value, err = n.file.Attr(name); err != nil {
				return a, err
			}
		}
	}
	a.hasState = slices.Contains(names, journal.StateAttr)
	hasRecord := slices.Contains(names, journal.RecordAttr)
	if hasRecord || isPending || n.HasSetID() || a.caps != nil {
		a.record, a.isUntrusted, err = j.Record(n.file, run)
	}
	return a, err
}

// buildPlan sets n.plan and n.isProtected. It reads the file's attributes, unless isPlain reports
// that none of them matter.
func (n *inode) buildPlan(j *journal.Journal, r *rules, isPlain bool) error {
	isPending, isProtected, err := j.Pending(n.file)
	n.isProtected = isProtected
	if err == nil && (!isPlain || isPending) {
		n.attrs, err = n.readAttrs(j, r.run, isPending)
	}
	if err == nil {
		n.plan, err = r.plan(&n.Inode, &n.attrs)
	}
	return err
}

// isSpecialAttr reports whether a shift changes or uses an extended attribute. With SELinux, all
// files have others.
func isSpecialAttr(name string) bool {
	return name == journal.RecordAttr || name == journal.StateAttr || new(attrs).value(name) != nil
}

// apply makes the changes of the plan. It may be killed at any point: a chown clears set-id bits
// and capabilities, so these are recorded before it and restored from the record.
func (n *inode) apply(j *journal.Journal) error {
	p, before := &n.plan, n.Inode
	rest := *p
	rest.chown = false
	for _, change := range []struct {
		isDue bool
		make  func() error
	}{
		{p.record != nil, func() error { return j.SetRecord(n.file, p.record) }},
		{p.chown, func() error { return n.chown(p.uid, p.gid) }},
		{p.setMode, func() error { return n.file.Chmod(p.mode) }},
		{p.accessACL != nil, func() error { return n.file.SetAttr(idattr.AccessACL, p.accessACL) }},
		{p.defaultACL != nil, func() error { return n.file.SetAttr(idattr.DefaultACL, p.defaultACL) }},
		{p.setCaps, func() error { return n.file.SetAttr(idattr.Caps, p.caps) }},
		{p.removeCaps, func() error { return n.file.RemoveAttr(idattr.Caps) }},
		{!rest.isEmpty(), func() error { return n.checkLinks(&before) }}, // since the chown
		{p.removeRecord, func() error { return j.RemoveRecord(n.file) }},
	} {
		if !change.isDue {
			continue
		}
		if err := change.make(); err != nil {
			return err
		}
	}
	return nil
}
