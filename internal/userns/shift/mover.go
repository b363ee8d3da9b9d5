package shift

import (
	"errors"
	"sync"

	"palisade/internal/idmap"
	"palisade/internal/sys"
)

// linkLocks keep two workers from changing a file at once that has two names.
type linkLocks [64]sync.Mutex

func (l *linkLocks) of(i *sys.Inode) *sync.Mutex { return &l[i.Number%uint64(len(l))] }

// mover is the visitor that changes files.
type mover struct {
	*tree
	o     *Options
	rules *rules
	// known are the files with several names that the first pass has found.
	known map[inodeKey]links
	// found holds all files that the first pass has found, copied the new inodes of those that an
	// overlay has copied up since.
	found    *inodes
	copied   *sync.Map
	links    *linkLocks
	memos    *memos
	began    sys.Time
	progress *counter
	// refusePrivileged makes the mover fail on files that would become privileged programs.
	refusePrivileged bool
}

func (v *mover) enter(w *worker, d *dir) error {
	n := &w.opened
	if err := openInode(n, &file{open: d.file}); err != nil {
		return err
	}
	d.key = keyOf(&n.Inode)
	if v.memos != nil {
		d.known = v.memos.of(&n.Inode, v.began)
	}
	if d.parent == nil {
		return nil // the root directory comes last
	}
	var special bool
	if d.known != nil {
		special = d.known.special
	} else {
		var err error
		if special, err = w.isSpecialDir(d); err != nil {
			return err
		}
	}
	return v.move(n, special)
}

func (v *mover) visit(w *worker, d *dir, name sys.Name, code uint16) (isDir bool) {
	v.progress.add(w.number)
	if code == dirCode {
		return true
	}
	if err := v.moveNamed(w, d.named(name), code); err != nil {
		if errors.Is(err, errIsDir) {
			return true
		}
		w.fail(d, name.String(), err)
	}
	return false
}

func (v *mover) visited(*chunk) {}

// errIsDir is for a file that turns out to be a directory.
var errIsDir = errors.New("it is a directory")

// moveNamed changes a file that is not a directory. If code stands for an owner, the first pass
// found no special attributes.
func (v *mover) moveNamed(w *worker, f file, code uint16) error {
	isPlain := code >= firstOwner
	var known owner
	if isPlain {
		known = v.memos.owners.of(code)
		uid, _ := v.rules.UID.To(known.uid)
		gid, _ := v.rules.GID.To(known.gid)
		if uid == known.uid && gid == known.gid {
			return nil
		}
	}
	n := &w.opened
	if err := openInode(n, &f); err != nil {
		return err
	}
	defer n.close()
	if n.IsDir() {
		return errIsDir
	}
	special, err := n.HasSetID(), error(nil)
	isPlain = isPlain && known == owner{n.UID, n.GID} && n.Changed.Until(v.began) >= settled
	if !special && !isPlain {
		if special, err = w.isSpecialOpen(n); err != nil {
			return err
		}
	}
	return v.move(n, special)
}

// Errors for files that were created or changed after the first pass.
var (
	errUnmapped = errors.New("its owner is not mapped; it was created or changed meanwhile")
	errNew      = errors.New("it was created, or moved into the tree, meanwhile")
	// errPrivileged is the error for a privileged program that refusePrivileged forbids.
	errPrivileged = errors.New("it was made set-id, or was given capabilities, meanwhile")
)

// check fails unless the first pass has found the file, with no fewer links. It so rejects files
// that were moved or linked into the tree from outside.
func (v *mover) check(i *sys.Inode) error {
	key := keyOf(i)
	if !v.found.has(key) {
		if _, ok := v.copied.Load(key); !ok {
			return errNew
		}
	}
	if v.o.HardLinks == Fail && i.Links > 1 && !i.IsDir() && i.Links > v.known[key].all {
		return errLinked
	}
	return nil
}

// move changes a file. A special one has more than an owner.
func (v *mover) move(n *inode, special bool) error {
	uid, gid, uidKind, gidKind := v.rules.owner(&n.Inode)
	if v.o.Unmapped == Fail && (uidKind == idmap.Unmapped || gidKind == idmap.Unmapped) {
		return errUnmapped
	}
	id, isProtected, err := v.pending(n.file, noName)
	if err != nil {
		return err
	}
	key := keyOf(&n.Inode)
	moved := uid != n.UID || gid != n.GID
	switch {
	case special || id != "" || moved && (n.Immutable || n.AppendOnly):
		err = v.moveClosely(n, isProtected)
	case moved:
		if err = v.check(&n.Inode); err == nil {
			err = n.chown(uid, gid)
		}
	}
	if now := keyOf(&n.Inode); now != key { // on an overlay
		v.copied.Store(now, true)
	}
	return err
}

// plan builds the plan for a file, and checks it against refusePrivileged.
func (v *mover) plan(n *inode) error {
	if err := n.buildPlan(v.journal, v.rules); err != nil {
		return err
	}
	if v.refusePrivileged && n.isPrivileged() {
		return errPrivileged
	}
	return nil
}

// moveClosely changes a file that has more than an owner.
func (v *mover) moveClosely(n *inode, isProtected bool) error {
	if n.Links > 1 && !n.IsDir() {
		lock := v.links.of(&n.Inode)
		lock.Lock()
		defer lock.Unlock()
	}
	if err := v.plan(n); err != nil {
		return err
	}
	if !n.plan.isNothing() || isProtected {
		if err := v.check(&n.Inode); err != nil {
			return err
		}
	}
	flagged := n.Immutable || n.AppendOnly
	switch {
	case isProtected:
	case !flagged:
		return n.apply(v.journal)
	case n.plan.isNothing() || v.o.Immutable == Skip:
		return nil
	case v.o.Immutable == Fail:
		return errors.New("it was made immutable or append-only meanwhile")
	}
	return v.moveProtected(n)
}

// moveProtected changes a file without its protection, which it gets back. What it was is recorded at the root directory
// meanwhile, since the file itself cannot be changed before.
func (v *mover) moveProtected(n *inode) error {
	id, err := v.identityOf(n.file)
	if err != nil {
		return err
	}
	flags, isRecorded, err := v.flags(id, v.rules.run)
	if err != nil {
		return err
	}
	if !isRecorded {
		if flags, err = n.file.Flags(); err != nil {
			return err
		}
		if err := v.setFlags(id, v.rules.run, flags); err != nil {
			return err
		}
	}
	if err := n.setFlags(sys.WithoutProtection(flags)); err != nil {
		return err
	}
	if err := v.plan(n); err != nil {
		return err
	}
	if err := n.apply(v.journal); err != nil {
		return err
	}
	if err := n.setFlags(flags); err != nil {
		return err
	}
	return v.removeFlags(id)
}
