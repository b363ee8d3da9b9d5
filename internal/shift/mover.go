package shift

import (
	"encoding/binary"
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
	known    map[inodeKey]links
	links    *linkLocks
	memos    *memos
	began    sys.Time
	progress *counter
}

func (v *mover) enter(w *worker, d *dir) error {
	i := &w.inode
	if err := d.file.InodeAt(sys.Name{0}, i); err != nil {
		return err
	}
	d.key = keyOf(i)
	if v.memos != nil {
		d.known = v.memos.of(i, v.began)
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
	return v.move(file{dir: d.parent, name: d.name, open: d.file, number: d.number}, i, special)
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

// moveNamed changes a file that is no directory. What is known of it by its code is not asked for.
func (v *mover) moveNamed(w *worker, f file, code uint16) error {
	i := &w.inode
	if code >= firstOwner {
		known := v.memos.owners.of(code)
		uid, _ := v.rules.UID.To(known.uid)
		gid, _ := v.rules.GID.To(known.gid)
		if uid == known.uid && gid == known.gid {
			return nil
		}
		return f.dir.file.ChownAt(f.name, uid, gid)
	}
	if err := f.dir.file.InodeAt(f.name, i); err != nil {
		return err
	}
	if i.IsDir() {
		return errIsDir
	}
	special := i.HasSetID() || v.isPending(i, &f)
	if !special {
		var err error
		if special, err = w.isSpecialName(f.dir, f.name); err != nil {
			return err
		}
	}
	return v.move(f, i, special)
}

// errUnmapped is the error for a file that was not there when all were looked at.
var errUnmapped = errors.New("its owner is not mapped; it was made, or changed, meanwhile")

// errLinked is the error for a file that got another name after the names were counted: it may be one of a file outside, which
// is not to be changed.
var errLinked = errors.New("it has more names than were found in the tree; they were made meanwhile")

// checkLinks makes sure that a file has no names that the first pass has not found.
func (v *mover) checkLinks(i *sys.Inode) error {
	if v.o.HardLinks == Fail && i.Links > 1 && !i.IsDir() && i.Links > v.known[keyOf(i)].all {
		return errLinked
	}
	return nil
}

// move changes a file. A special one has more than an owner.
func (v *mover) move(f file, i *sys.Inode, special bool) error {
	uid, gid, uidKind, gidKind := v.rules.owner(i)
	if v.o.Unmapped == Fail && (uidKind == idmap.Unmapped || gidKind == idmap.Unmapped) {
		return errUnmapped
	}
	moved := uid != i.UID || gid != i.GID
	if moved {
		if err := v.checkLinks(i); err != nil {
			return err
		}
	}
	switch {
	case special || v.isProtected(&f) || moved && (i.Immutable || i.AppendOnly):
		return v.moveClosely(f, i)
	case moved && f.open.IsOpen():
		return f.open.Chown(uid, gid)
	case moved:
		return f.dir.file.ChownAt(f.name, uid, gid)
	}
	return nil
}

// moveClosely changes a file that has more than an owner.
func (v *mover) moveClosely(f file, i *sys.Inode) error {
	if i.Links > 1 && !i.IsDir() {
		lock := v.links.of(i)
		lock.Lock()
		defer lock.Unlock()
	}
	s, err := v.look(&f, v.rules)
	if err != nil {
		return err
	}
	defer s.close()
	if !s.plan.isNothing() {
		if err := v.checkLinks(&s.inode); err != nil {
			return err
		}
	}
	flagged, pending := s.inode.Immutable || s.inode.AppendOnly, v.isProtected(&f)
	switch {
	case !flagged && !pending:
		return v.carryOut(s)
	case !pending && (s.plan.isNothing() || v.o.Immutable == Skip):
		return nil
	case !pending && v.o.Immutable == Fail:
		return errors.New("it is immutable or append-only; it became so meanwhile")
	}
	return v.moveProtected(s, f.pathNumber(), pending)
}

// moveProtected changes a file without its protection, which it gets back. What it was is recorded at the root directory
// meanwhile, since the file itself cannot be changed before.
func (v *mover) moveProtected(s *seen, number uint64, pending bool) error {
	var flags uint32
	if pending {
		text, err := v.flags(number)
		if err == nil && len(text) != 4 {
			err = errors.New("its recorded flags are not understood")
		}
		if err != nil {
			return err
		}
		flags = binary.LittleEndian.Uint32(text)
	} else {
		var err error
		if flags, err = s.file.Flags(); err != nil {
			return err
		}
		if err := v.setFlags(number, binary.LittleEndian.AppendUint32(nil, flags)); err != nil {
			return err
		}
	}
	if err := s.file.SetFlags(sys.WithoutProtection(flags)); err != nil {
		return err
	}
	if err := v.planFile(s, v.rules); err != nil {
		return err
	}
	if err := v.carryOut(s); err != nil {
		return err
	}
	if err := s.file.SetFlags(flags); err != nil {
		return err
	}
	return v.removeFlags(number)
}
