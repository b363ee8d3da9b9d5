package shift

import (
	"errors"
	"sync"

	"palisade/internal/linux/sys"
	"palisade/internal/oci/idmap"
	"palisade/internal/userns/walk"
)

// linkLocks prevents two workers from changing a file with several names at the same time.
type linkLocks [64]sync.Mutex

func (l *linkLocks) of(i *sys.Inode) *sync.Mutex { return &l[i.Number%uint64(len(l))] }

// mover is the visitor that changes files.
type mover struct {
	*tree
	attrProbe
	o     *Options
	rules *rules
	// links and inodes are from the scan; copied holds the new inodes of files that an overlay has
	// copied up since.
	links    map[walk.InodeKey]links
	inodes   *inodeSet
	copied   *sync.Map
	locks    *linkLocks
	cache    *treeCache
	scanned  sys.Time
	progress *counter
	// refusePrivileged makes the mover fail on files that would become privileged programs.
	refusePrivileged bool
	// opened is the file that is being changed.
	opened inode
}

func (v *mover) Enter(_ *walk.Worker, d *walk.Dir) error {
	n := &v.opened
	if err := openInode(n, &file{open: d.File}); err != nil {
		return err
	}
	d.Key = walk.KeyOf(&n.Inode)
	var cache *dirCache
	if v.cache != nil {
		cache = v.cache.take(&n.Inode, v.scanned)
	}
	if cache != nil {
		d.Replay = &cache.listing
	}
	if d.Parent == nil {
		return nil // the root directory comes last
	}
	if cache != nil {
		return v.move(n, cache.isSpecial)
	}
	special, err := v.hasSpecialDir(d)
	if err != nil {
		return err
	}
	return v.move(n, special)
}

func (v *mover) Visit(w *walk.Worker, d *walk.Dir, name sys.Name, code uint16) (isDir bool) {
	v.progress.add(w.Number)
	if code == walk.CodeDir {
		return true
	}
	if err := v.moveNamed(w, &file{dir: d, name: name}, code); err != nil {
		if errors.Is(err, errIsDir) {
			return true
		}
		w.Fail(d, name.String(), err)
	}
	return false
}

func (v *mover) Visited(*walk.Chunk) {}

var errIsDir = errors.New("is a directory")

// moveNamed changes a file that is not a directory. If code stands for an owner, the scan found
// nothing else to change.
func (v *mover) moveNamed(w *walk.Worker, f *file, code uint16) error {
	isPlain := code >= walk.FirstCode
	var known owner
	if isPlain {
		known = v.cache.owners.owner(code)
		uid, _ := v.rules.UID.To(known.uid)
		gid, _ := v.rules.GID.To(known.gid)
		if uid == known.uid && gid == known.gid {
			return nil
		}
	}
	n := &v.opened
	if err := openInode(n, f); err != nil {
		return err
	}
	defer n.close()
	if n.IsDir() {
		return errIsDir
	}
	special, err := n.HasSetID(), error(nil)
	isPlain = isPlain && known == owner{n.UID, n.GID} && n.Changed.Until(v.scanned) >= settleTime
	if !special && !isPlain {
		if special, err = v.hasSpecialOpen(w, n.file); err != nil {
			return err
		}
	}
	return v.move(n, special)
}

// Errors for files that were created or changed after the scan.
var (
	errUnmapped   = errors.New("owner is not mapped; the file was created or changed meanwhile")
	errNew        = errors.New("file was created, or moved into the tree, meanwhile")
	errPrivileged = errors.New("file was made set-id, or was given capabilities, meanwhile")
	errProtected  = errors.New("file was made immutable or append-only meanwhile")
)

// check fails unless the scan has found the file, with no fewer links. It so rejects files that
// were moved or linked into the tree from outside.
func (v *mover) check(i *sys.Inode) error {
	key := walk.KeyOf(i)
	if !v.inodes.has(key) {
		if _, ok := v.copied.Load(key); !ok {
			return errNew
		}
	}
	if v.o.HardLinks == Fail && i.Links > 1 && !i.IsDir() && i.Links > v.links[key].all {
		return errLinked
	}
	return nil
}

// move changes an open file. special reports that it has more to change than its owner.
func (v *mover) move(n *inode, special bool) error {
	uid, gid, uidKind, gidKind := v.rules.owner(&n.Inode)
	if v.o.Unmapped == Fail && (uidKind == idmap.Unmapped || gidKind == idmap.Unmapped) {
		return errUnmapped
	}
	isPending, isProtected, err := v.Pending(n.file, noName)
	if err != nil {
		return err
	}
	key := walk.KeyOf(&n.Inode)
	moves := uid != n.UID || gid != n.GID
	switch {
	case special || isPending || moves && (n.Immutable || n.AppendOnly):
		err = v.moveSpecial(n, isProtected)
	case moves:
		if err = v.check(&n.Inode); err == nil {
			err = n.chown(uid, gid)
		}
	}
	if now := walk.KeyOf(&n.Inode); now != key { // an overlay has copied it up
		v.copied.Store(now, true)
	}
	return err
}

// plan builds the plan for a file, and checks it against refusePrivileged.
func (v *mover) plan(n *inode) error {
	if err := n.buildPlan(v.Journal, v.rules); err != nil {
		return err
	}
	if v.refusePrivileged && n.isPrivileged() {
		return errPrivileged
	}
	return nil
}

// moveSpecial changes a file that has more to change than its owner. isProtected reports that an
// interrupted change has cleared its flags.
func (v *mover) moveSpecial(n *inode, isProtected bool) error {
	if n.Links > 1 && !n.IsDir() {
		lock := v.locks.of(&n.Inode)
		lock.Lock()
		defer lock.Unlock()
	}
	if err := v.plan(n); err != nil {
		return err
	}
	if !n.plan.isEmpty() || isProtected {
		if err := v.check(&n.Inode); err != nil {
			return err
		}
	}
	isFlagged := n.Immutable || n.AppendOnly
	switch {
	case isProtected:
	case !isFlagged:
		return n.apply(v.Journal)
	case n.plan.isEmpty() || v.o.Immutable == Skip:
		return nil
	case v.o.Immutable == Fail:
		return errProtected
	}
	return v.moveProtected(n)
}

// moveProtected clears the flags of a file during its change. They are recorded at the root
// directory, since the file itself cannot be changed before.
func (v *mover) moveProtected(n *inode) error {
	id, err := v.IdentityOf(n.file)
	if err != nil {
		return err
	}
	flags, isRecorded, err := v.RecordedFlags(id, v.rules.run)
	if err != nil {
		return err
	}
	if !isRecorded {
		if flags, err = n.file.Flags(); err == nil {
			err = v.RecordFlags(id, v.rules.run, flags)
		}
	}
	if err == nil {
		err = n.setFlags(sys.WithoutProtection(flags))
	}
	if err == nil {
		err = v.plan(n)
	}
	if err == nil {
		err = n.apply(v.Journal)
	}
	if err == nil {
		err = n.setFlags(flags)
	}
	if err == nil {
		err = v.RemoveFlags(id)
	}
	return err
}
