package shift

import (
	"bytes"
	"context"

	"palisade/internal/linux/sys"
	"palisade/internal/oci/idmap"
	"palisade/internal/userns/idattr"
	"palisade/internal/userns/journal"
	"palisade/internal/userns/walk"
)

// scan scans the tree, whose recorded state is state.
func (t *tree) scan(
	ctx context.Context, r *rules, o *Options, state *journal.State,
) (*scan, error) {
	var root *journal.RootDir
	if state.Partial() {
		root = &state.Root
	}
	count := startCounter("check", 0, o.Progress)
	defer count.end()
	s, visitors := newScan(), make([]walk.Visitor, o.Jobs)
	for i := range visitors {
		visitors[i] = &scanner{scan: s, tree: t, rules: r, flagPolicy: o.Immutable, root: root,
			progress: count, buf: make([]byte, 512)}
	}
	return s, t.walk(ctx, visitors)
}

type scanner struct {
	*scan
	tree       *tree
	rules      *rules
	flagPolicy Policy
	// root has the properties of the root directory before it was closed, nil if it is open.
	root     *journal.RootDir
	progress *counter
	// cwd is the thread's working directory; buf is for the names of attributes.
	cwd *walk.Dir
	buf []byte
}

func (v *scanner) Enter(d *walk.Dir) (err error) {
	d.Key, err = v.addOpen(&file{dir: d.Parent, name: d.Name, open: d.File})
	return err
}

func (v *scanner) Visit(
	t *sys.Thread, d *walk.Dir, name sys.Name, isDir bool,
) (bool, error) {
	v.progress.Add(1)
	if isDir {
		return true, nil
	}
	var n inode
	if err := d.File.StatxAt(name, &n.Inode); err != nil {
		return false, err
	}
	if n.IsDir() {
		return true, nil
	}
	if n.IsWhiteout() {
		return false, nil
	}
	isSpecial, err := n.HasSetID() || v.tree.HasPending(), error(nil)
	if !isSpecial {
		isSpecial, err = v.hasSpecialAttr(t, d, name)
	}
	if err != nil {
		return false, err
	}
	f := &file{dir: d, name: name}
	if isSpecial {
		_, err := v.addOpen(f)
		return false, err
	}
	if n.plan, err = v.rules.plan(&n.Inode, &n.attrs); err == nil {
		v.add(f, &n)
	}
	return false, err
}

// hasSpecialAttr reports whether the file name in d has attributes that a shift changes or uses. It
// lists their names relative to the thread's working directory, in one system call and without
// opening the file: otherwise a scan takes three times as long.
func (v *scanner) hasSpecialAttr(t *sys.Thread, d *walk.Dir, name sys.Name) (bool, error) {
	if v.cwd != d {
		if err := t.Enter(d.File); err != nil {
			return false, err
		}
		v.cwd = d
	}
	list, isComplete, err := t.AttrList(name, v.buf)
	return !isComplete || listsSpecial(list), err
}

// listsSpecial searches NUL-terminated names of attributes.
func listsSpecial(list []byte) bool {
	for len(list) > 0 {
		name, rest, ok := bytes.Cut(list, []byte{0})
		if !ok || isSpecialAttr(string(name)) { // no kernel returns a name without NUL
			return true
		}
		list = rest
	}
	return false
}

// addOpen opens a file, unless it is open, and adds it with its attributes.
func (v *scanner) addOpen(f *file) (key walk.InodeKey, err error) {
	n, err := openInode(f)
	if err != nil {
		return key, err
	}
	defer n.close()
	if f.isRoot() && v.root != nil {
		n.UID, n.GID = v.root.UID, v.root.GID
	}
	if err = n.buildPlan(v.tree.Journal, v.rules, false); err == nil {
		v.add(f, &n)
	}
	return walk.KeyOf(&n.Inode), err
}

// add adds a file with a plan to the scan.
func (v *scanner) add(f *file, n *inode) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.files++
	key := walk.KeyOf(&n.Inode)
	v.inodes.add(key)
	if n.file.IsOpen() {
		v.special.add(key)
	}
	v.ids.Add(n.UID)
	v.ids.Add(n.GID)
	v.hasLow, v.hasHigh = v.hasLow || n.UID < 1<<16, v.hasHigh || n.UID >= 1<<16
	if n.isPrivileged() {
		v.privileged.add(f)
	}
	if n.attrs.isUntrusted {
		v.untrusted.add(f)
	}
	isUnmapped := v.addUnmapped(f, n)
	changes := !n.plan.isEmpty() || n.isProtected
	if !f.isRoot() {
		changes = v.addBelow(f, n, changes)
	}
	if changes {
		v.toChange++
	}
	isWrong := changes || isUnmapped
	if isWrong {
		v.wrong.add(f)
	}
	if n.Links > 1 && !n.IsDir() {
		v.addLink(&n.Inode, f.dir, f.name, isWrong)
	}
}

// addUnmapped adds the ids of a file that a map lacks, and reports whether there are any.
func (v *scanner) addUnmapped(f *file, n *inode) bool {
	before := v.unmapped[0].Count + v.unmapped[1].Count
	uids, gids := &v.unmapped[0], &v.unmapped[1]
	p, from := &n.plan, &v.rules.from
	if p.uidKind == idmap.Unmapped {
		uids.add(n.UID, from.UID, f)
	}
	if p.gidKind == idmap.Unmapped {
		gids.add(n.GID, from.GID, f)
	}
	for _, e := range p.aclEntries {
		switch {
		case e.Kind != idmap.Unmapped:
		case e.Group:
			gids.add(e.ID, from.GID, f)
		default:
			uids.add(e.ID, from.UID, f)
		}
	}
	if p.capsKind == idmap.Unmapped {
		if id, err := idattr.CapsRoot(n.attrs.caps); err == nil {
			uids.enlarge(id, from.UID)
		}
		uids.Add(func() string { return "the root of the capabilities of " + f.quoted() })
	}
	return v.unmapped[0].Count+v.unmapped[1].Count > before
}

// addBelow adds a file other than the root directory. It returns changes, or false if the policies
// do not allow them.
func (v *scanner) addBelow(f *file, n *inode, changes bool) bool {
	if v.rules.isMissed(&n.Inode) {
		v.missed.add(f)
	}
	if n.attrs.hasState {
		v.nested.add(f)
	}
	if f.open.IsOpen() && n.FileSystem != f.dir.Key.FileSystem && f.open.IsReadOnly() {
		v.readOnly.add(f)
	}
	switch n.plan.uidKind {
	case idmap.Moved:
		v.below.before++
	case idmap.Done:
		v.below.after++
	}
	if changes && (n.Immutable || n.AppendOnly) {
		v.flagged.add(f)
		return v.flagPolicy != Skip || n.isProtected
	}
	return changes
}
