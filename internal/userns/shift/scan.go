package shift

import (
	"context"
	"fmt"

	"palisade/internal/linux/sys"
	"palisade/internal/oci/idmap"
	"palisade/internal/userns/idattr"
	"palisade/internal/userns/journal"
	"palisade/internal/userns/walk"
)

// scan holds the results of a scan of all files.
type scan struct {
	// files counts all files, toChange those to change, and done those that stay.
	files, toChange, done uint64
	ids                   idmap.IDBlocks
	unmapped              [2]unmapped // uids, gids
	links                 map[walk.InodeKey]links
	inodes                *inodeSet
	// flagged are immutable or append-only files to change, privileged those with set-id bits or
	// capabilities that become others.
	flagged, privileged examples
	// nested are root directories of other shifted trees, readOnly read-only subvolumes.
	nested, readOnly examples
	// below counts the files other than the root directory whose uid is still to be changed (before),
	// and those whose uid is final (after).
	below struct{ before, after uint64 }
	// missed are files with ids that a completed step should have changed, untrusted those with a
	// record that is not trusted.
	missed, untrusted examples
	// wrong are the files to change, and those with unmapped ids, by each of their names.
	wrong examples
	// hasLow and hasHigh report that there are owners below 65536, and others.
	hasLow, hasHigh bool
}

// links counts the names of a file that were found, all that it has, and those found that are among
// the wrong files. One of them is name, in the directory dir.
type links struct {
	found, all, wrong uint32
	dir               *walk.Dir
	name              string
}

// addLink adds one of the names of a file that has several.
func (s *scan) addLink(i *sys.Inode, d *walk.Dir, name sys.Name, wrong bool) {
	key := walk.KeyOf(i)
	l, ok := s.links[key]
	if !ok {
		l = links{all: i.Links, dir: d, name: name.String()}
	}
	l.found++
	if wrong {
		l.wrong++
	}
	s.links[key] = l
}

// maxExamples limits the files that a message names.
const maxExamples = 5

// examples counts files with something in common, and names the first ones.
type examples struct {
	count uint64
	first []string
}

func (x *examples) add(f *file) { x.addText(f.quoted) }

func (x *examples) addText(text func() string) {
	if x.count++; len(x.first) < maxExamples {
		x.first = append(x.first, text())
	}
}

func (x *examples) merge(o *examples) {
	x.count += o.count
	x.first = append(x.first, o.first...)
	x.first = x.first[:min(len(x.first), maxExamples)]
}

// unmapped are files with ids that a map lacks.
type unmapped struct {
	examples
	// largest is the largest of the ids, as the container sees them.
	largest uint32
}

// add adds an id of a file; from maps the ids of the tree.
func (u *unmapped) add(id uint32, from idmap.Map, f *file) {
	u.enlarge(id, from)
	u.addText(func() string { return fmt.Sprintf("%d of %s", id, f.quoted()) })
}

func (u *unmapped) enlarge(id uint32, from idmap.Map) {
	if container, ok := from.ToContainer(id); ok {
		id = container
	}
	u.largest = max(u.largest, id)
}

func newScan() *scan {
	return &scan{links: make(map[walk.InodeKey]links), inodes: newInodeSet()}
}

func (s *scan) merge(o *scan) {
	s.files += o.files
	s.toChange += o.toChange
	s.done += o.done
	s.below.before += o.below.before
	s.below.after += o.below.after
	s.hasLow, s.hasHigh = s.hasLow || o.hasLow, s.hasHigh || o.hasHigh
	s.ids.Merge(&o.ids)
	for i := range s.unmapped {
		s.unmapped[i].merge(&o.unmapped[i].examples)
		s.unmapped[i].largest = max(s.unmapped[i].largest, o.unmapped[i].largest)
	}
	for _, x := range [][2]*examples{
		{&s.flagged, &o.flagged}, {&s.privileged, &o.privileged}, {&s.nested, &o.nested},
		{&s.readOnly, &o.readOnly}, {&s.missed, &o.missed}, {&s.untrusted, &o.untrusted},
		{&s.wrong, &o.wrong},
	} {
		x[0].merge(x[1])
	}
	s.inodes.merge(o.inodes)
	for key, l := range o.links {
		l.found += s.links[key].found
		l.wrong += s.links[key].wrong
		s.links[key] = l
	}
}

// scan scans the tree, whose recorded state is state. It fills cache unless that is nil.
func (t *tree) scan(
	ctx context.Context, r *rules, o *Options, state *journal.State, cache *treeCache,
) (*scan, error) {
	var root *journal.RootDir
	if state.Partial() {
		root = &state.Root
	}
	count := startCounter(o.Jobs, "check", 0, o.Progress)
	defer count.end()
	return t.scanWith(ctx, o.Jobs, func(part *scan) walk.Visitor {
		v := &scanner{scan: part, attrProbe: newAttrProbe(), tree: t, rules: r,
			flagPolicy: o.Immutable, root: root, progress: count}
		if cache != nil {
			v.cache = &cacheWriter{cache: cache}
		}
		return v
	})
}

// scanWith walks through the tree with a visitor for each worker, and merges their results.
func (t *tree) scanWith(
	ctx context.Context, jobs int, newVisitor func(part *scan) walk.Visitor,
) (*scan, error) {
	visitors, parts := make([]walk.Visitor, jobs), make([]*scan, jobs)
	for i := range visitors {
		parts[i] = newScan()
		visitors[i] = newVisitor(parts[i])
	}
	if err := t.walk(ctx, visitors); err != nil {
		return nil, err
	}
	for _, part := range parts[1:] {
		parts[0].merge(part)
	}
	return parts[0], nil
}

// scanner is the visitor of a scan.
type scanner struct {
	*scan
	attrProbe
	tree       *tree
	rules      *rules
	flagPolicy Policy
	// root has the properties of the root directory before it was closed, nil if it is open.
	root     *journal.RootDir
	cache    *cacheWriter
	progress *counter
	// inode is that of the current file.
	inode sys.Inode
}

func (v *scanner) Enter(_ *walk.Worker, d *walk.Dir) error {
	i := &v.inode
	if err := d.File.StatxAt(noName, i); err != nil {
		return err
	}
	d.Key = walk.KeyOf(i)
	var cache *dirCache
	if v.cache != nil {
		cache = v.cache.cache.add(i)
	}
	if d.Parent == nil && v.root != nil {
		i.UID, i.GID = v.root.UID, v.root.GID
	}
	if d.Parent != nil && d.Key.FileSystem != d.Parent.Key.FileSystem && d.File.IsReadOnly() {
		v.readOnly.addText(func() string { return fmt.Sprintf("%q", d.Path("")) })
	}
	special, err := v.hasSpecialDir(d)
	if err != nil {
		return err
	}
	if cache != nil {
		cache.isSpecial = special
		d.Recording = &cache.listing
	}
	_, err = v.add(&file{dir: d.Parent, name: d.Name, open: d.File}, special)
	return err
}

func (v *scanner) Visit(w *walk.Worker, d *walk.Dir, name sys.Name, code uint16) (isDir bool) {
	v.progress.add(w.Number)
	i := &v.inode
	if isDir = code == walk.CodeDir; !isDir {
		if err := d.File.StatxAt(name, i); err != nil {
			w.Fail(d, name.String(), err)
			return false
		}
		isDir = i.IsDir()
	}
	if isDir {
		if d.Recording != nil {
			v.cache.add(name, walk.CodeDir)
		}
		return true
	}
	special, err := i.HasSetID(), error(nil)
	if !special {
		special, err = v.hasSpecialName(w, d, name)
	}
	if err == nil {
		special, err = v.add(&file{dir: d, name: name}, special)
	}
	if err != nil {
		w.Fail(d, name.String(), err)
	}
	switch {
	case d.Recording == nil:
	case special || i.Immutable || i.AppendOnly || i.Links > 1:
		v.cache.add(name, walk.CodeUnknown)
	default:
		v.cache.addOwner(name, owner{i.UID, i.GID})
	}
	return false
}

func (v *scanner) Visited(c *walk.Chunk) {
	if v.cache != nil {
		v.cache.flush(c)
	}
}

// add adds the file with v.inode to the scan. special reports that it has more to change than its
// owner; add also returns true if an interrupted change has left records of it.
func (v *scanner) add(f *file, special bool) (isSpecial bool, err error) {
	i := &v.inode
	v.files++
	v.inodes.add(walk.KeyOf(i))
	v.ids.Add(i.UID)
	v.ids.Add(i.GID)
	v.hasLow, v.hasHigh = v.hasLow || i.UID < 1<<16, v.hasHigh || i.UID >= 1<<16
	unmappedBefore := v.unmapped[0].count + v.unmapped[1].count
	uid, gid, uidKind, gidKind := v.rules.owner(i)
	if uidKind == idmap.Unmapped {
		v.unmapped[0].add(i.UID, v.rules.from.UID, f)
	}
	if gidKind == idmap.Unmapped {
		v.unmapped[1].add(i.GID, v.rules.from.GID, f)
	}
	if v.rules.isMissed(i) && !f.isRoot() {
		v.missed.add(f)
	}
	isPending, isProtected, err := v.tree.Pending(f.at())
	if err != nil {
		return false, err
	}
	changes := uid != i.UID || gid != i.GID
	if special = special || isPending; special {
		if changes, err = v.addSpecial(f); err != nil {
			return false, err
		}
		changes = changes || isProtected
	}
	if changes && (i.Immutable || i.AppendOnly) && !f.isRoot() {
		v.flagged.add(f)
		changes = v.flagPolicy != Skip || isProtected
	}
	if changes {
		v.toChange++
	} else {
		v.done++
	}
	wrong := changes || v.unmapped[0].count+v.unmapped[1].count > unmappedBefore
	if wrong {
		v.wrong.add(f)
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

// addSpecial adds what the extended attributes of a file show, and reports whether the file must be
// changed.
func (v *scanner) addSpecial(f *file) (changes bool, err error) {
	var n inode
	if err := openInode(&n, f); err != nil {
		return false, err
	}
	defer n.close()
	if err := n.buildPlan(v.tree.Journal, v.rules); err != nil {
		return false, err
	}
	if n.attrs.hasState && !f.isRoot() {
		v.nested.add(f)
	}
	if n.attrs.isUntrusted {
		v.untrusted.add(f)
	}
	if n.isPrivileged() {
		v.privileged.add(f)
	}
	for _, e := range n.plan.aclEntries {
		v.addEntry(e, f)
	}
	if n.plan.capsKind == idmap.Unmapped {
		if id, err := idattr.CapsRoot(n.attrs.caps); err == nil {
			v.unmapped[0].enlarge(id, v.rules.from.UID)
		}
		v.unmapped[0].addText(func() string {
			return "the root of the capabilities of " + f.quoted()
		})
	}
	return !n.plan.isEmpty(), nil
}

func (v *scanner) addEntry(e idattr.ACLEntry, f *file) {
	switch {
	case e.Kind != idmap.Unmapped:
	case e.Group:
		v.unmapped[1].add(e.ID, v.rules.from.GID, f)
	default:
		v.unmapped[0].add(e.ID, v.rules.from.UID, f)
	}
}
