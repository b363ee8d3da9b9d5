package shift

import (
	"fmt"

	"palisade/internal/idmap"
	"palisade/internal/sys"
	"palisade/internal/userns/idattr"
)

// census is what is found out of a tree before anything is changed.
type census struct {
	// Files are all, Moved those that are to be changed, Done those that are as they are to be.
	files, moved, done uint64
	ids                idmap.Seen
	unmapped           [2]unmapped // uids, gids
	links              map[inodeKey]links
	inodes             *inodes
	flagged, setID     examples
	roots, readOnly    examples
	// below counts the files other than the root directory whose uid is still to be changed (before),
	// and those whose uid is final (after).
	below struct{ before, after uint64 }
	// missed are files with ids that a completed step should have changed, foreign those with a
	// record that is not trusted.
	missed, foreign examples
	// wrong are the files to change, and those with ids that are not mapped, by each of their names.
	wrong examples
	// low and high tell whether there are owners below and from 65536 on.
	low, high bool
}

// inodeKey names a file whatever its names are.
type inodeKey struct {
	fs     sys.DeviceNumber
	number uint64
}

func keyOf(i *sys.Inode) inodeKey { return inodeKey{i.FileSystem, i.Number} }

// links counts the names of a file that were found, all that it has, and those found that are among
// the wrong files. One of them is name, in the directory dir.
type links struct {
	found, all, wrong uint32
	dir               *dir
	name              string
}

// addLink notes one of the names of a file that has several.
func (c *census) addLink(i *sys.Inode, d *dir, name sys.Name, wrong bool) {
	key := keyOf(i)
	l, ok := c.links[key]
	if !ok {
		l = links{all: i.Links, dir: d, name: name.String()}
	}
	l.found++
	if wrong {
		l.wrong++
	}
	c.links[key] = l
}

// examples are files with something in common, of which the first are named.
type examples struct {
	count uint64
	first []string
}

func (x *examples) add(f *file) { x.addText(f.quoted) }

func (x *examples) addText(text func() string) {
	if x.count++; len(x.first) < shown {
		x.first = append(x.first, text())
	}
}

func (x *examples) merge(o *examples) {
	x.count += o.count
	x.first = append(x.first, o.first...)
	x.first = x.first[:min(len(x.first), shown)]
}

// unmapped are ids that a map does not have.
type unmapped struct {
	examples
	largest uint32
}

// note adds an id that a file has; from maps the ids of the tree.
func (u *unmapped) note(id uint32, from idmap.Map, f *file) {
	u.enlarge(id, from)
	u.addText(func() string { return fmt.Sprintf("%d of %s", id, f.quoted()) })
}

// enlarge notes an id of the container, or what it is mapped to.
func (u *unmapped) enlarge(id uint32, from idmap.Map) {
	if container, ok := from.ToContainer(id); ok {
		id = container
	}
	u.largest = max(u.largest, id)
}

func newCensus() *census {
	return &census{links: make(map[inodeKey]links), inodes: newInodes()}
}

func (c *census) merge(o *census) {
	c.files += o.files
	c.moved += o.moved
	c.done += o.done
	c.below.before += o.below.before
	c.below.after += o.below.after
	c.low, c.high = c.low || o.low, c.high || o.high
	c.ids.Merge(&o.ids)
	for i := range c.unmapped {
		c.unmapped[i].merge(&o.unmapped[i].examples)
		c.unmapped[i].largest = max(c.unmapped[i].largest, o.unmapped[i].largest)
	}
	for _, x := range [][2]*examples{
		{&c.flagged, &o.flagged}, {&c.setID, &o.setID}, {&c.roots, &o.roots}, {&c.readOnly, &o.readOnly},
		{&c.missed, &o.missed}, {&c.foreign, &o.foreign}, {&c.wrong, &o.wrong},
	} {
		x[0].merge(x[1])
	}
	c.inodes.merge(o.inodes)
	for key, l := range o.links {
		l.found += c.links[key].found
		l.wrong += c.links[key].wrong
		c.links[key] = l
	}
}

// inspector is the visitor of the first pass, of one worker.
type inspector struct {
	*census
	tree       *tree
	rules      *rules
	flagPolicy Policy
	// root is what the root directory was, if it is closed.
	root     *rootDir
	notes    *notes
	progress *counter
}

func (v *inspector) enter(w *worker, d *dir) error {
	i := &w.inode
	if err := d.file.InodeAt(sys.Name{0}, i); err != nil {
		return err
	}
	d.key = keyOf(i)
	if v.notes != nil {
		d.memo = v.notes.memos.make(i)
	}
	if d.parent == nil && v.root != nil {
		i.UID, i.GID = v.root.UID, v.root.GID // it is closed
	}
	if d.parent != nil && d.key.fs != d.parent.key.fs && d.file.IsReadOnly() {
		v.readOnly.addText(func() string { return fmt.Sprintf("%q", d.path("")) })
	}
	special, err := w.isSpecialDir(d)
	if err != nil {
		return err
	}
	if d.memo != nil {
		d.memo.special = special
	}
	_, err = v.inspect(file{dir: d.parent, name: d.name, open: d.file}, i, special)
	return err
}

func (v *inspector) visit(w *worker, d *dir, name sys.Name, code uint16) (isDir bool) {
	v.progress.add(w.number)
	i := &w.inode
	if code != dirCode {
		if err := d.file.InodeAt(name, i); err != nil {
			w.fail(d, name.String(), err)
			return false
		}
		isDir = i.IsDir()
	}
	if code == dirCode || isDir {
		if d.memo != nil {
			v.notes.note(name, dirCode)
		}
		return true
	}
	f := d.named(name)
	special, err := i.HasSetID(), error(nil)
	if !special {
		special, err = w.isSpecialName(d, name)
	}
	if err == nil {
		special, err = v.inspect(f, i, special)
	}
	if err != nil {
		w.fail(d, name.String(), err)
	}
	switch {
	case d.memo == nil:
	case special || i.Immutable || i.AppendOnly || i.Links > 1:
		v.notes.note(name, lookCode)
	default:
		v.notes.noteOwner(name, owner{i.UID, i.GID})
	}
	return false
}

func (v *inspector) visited(c *chunk) {
	if v.notes != nil {
		v.notes.keep(c)
	}
}

// inspect adds a file to the census. A special file has more than an owner to change, or a record.
func (v *inspector) inspect(f file, i *sys.Inode, special bool) (isSpecial bool, err error) {
	v.files++
	v.inodes.add(keyOf(i))
	v.ids.Add(i.UID)
	v.ids.Add(i.GID)
	v.low, v.high = v.low || i.UID < 1<<16, v.high || i.UID >= 1<<16
	unmappedBefore := v.unmapped[0].count + v.unmapped[1].count
	uid, gid, uidKind, gidKind := v.rules.owner(i)
	if uidKind == idmap.Unmapped {
		v.unmapped[0].note(i.UID, v.rules.from.UID, &f)
	}
	if gidKind == idmap.Unmapped {
		v.unmapped[1].note(i.GID, v.rules.from.GID, &f)
	}
	if v.rules.isMissed(i) && !f.isRoot() {
		v.missed.add(&f)
	}
	id, isProtected, err := v.tree.pending(f.at())
	if err != nil {
		return false, err
	}
	moved := uid != i.UID || gid != i.GID
	if special = special || id != ""; special {
		if moved, err = v.inspectClosely(&f); err != nil {
			return false, err
		}
		moved = moved || isProtected
	}
	if moved && (i.Immutable || i.AppendOnly) && !f.isRoot() {
		v.flagged.add(&f)
		moved = v.flagPolicy != Skip || isProtected
	}
	if moved {
		v.moved++
	} else {
		v.done++
	}
	wrong := moved || v.unmapped[0].count+v.unmapped[1].count > unmappedBefore
	if wrong {
		v.wrong.add(&f)
	}
	if i.Links > 1 && !i.IsDir() {
		v.addLink(i, f.dir, f.name, wrong)
	}
	switch {
	case f.isRoot():
	case uidKind == idmap.Moved:
		v.below.before++
	case uidKind == idmap.Done:
		v.below.after++
	}
	return special, nil
}

// inspectClosely looks at extended attributes, and tells whether anything of the file is to be changed.
func (v *inspector) inspectClosely(f *file) (moved bool, err error) {
	var n inode
	if err := openInode(&n, f); err != nil {
		return false, err
	}
	defer n.close()
	if err := n.buildPlan(v.tree.journal, v.rules); err != nil {
		return false, err
	}
	if n.attrs.isRoot && !f.isRoot() {
		v.roots.add(f)
	}
	if n.attrs.isForeign {
		v.foreign.add(f)
	}
	if n.isPrivileged() {
		v.setID.add(f)
	}
	for _, note := range n.plan.notes {
		v.noteEntry(note, f)
	}
	if n.plan.capsKind == idmap.Unmapped {
		if id, err := idattr.CapsRoot(n.attrs.caps); err == nil {
			v.unmapped[0].enlarge(id, v.rules.from.UID)
		}
		v.unmapped[0].addText(func() string { return "the root of the capabilities of " + f.quoted() })
	}
	return !n.plan.isNothing(), nil
}

func (v *inspector) noteEntry(note idattr.ACLEntry, f *file) {
	if note.Kind != idmap.Unmapped {
		return
	}
	which, from := 0, v.rules.from.UID
	if note.Group {
		which, from = 1, v.rules.from.GID
	}
	v.unmapped[which].note(note.ID, from, f)
}
