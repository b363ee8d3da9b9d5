package shift

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"palisade/internal/idmap"
	"palisade/internal/sys"
)

// closedMode is that of a root directory while its files are being changed: neither the host's users nor a container can get
// into a tree in which programs with a set-id bit may belong to the wrong user.
const closedMode = 0o700

// carryOutAll changes the tree. When it fails, the tree stays closed, and the recorded state tells how far it is.
func (c *changer) carryOutAll(ctx context.Context) error {
	steps, err := c.state.Change.Steps()
	if err != nil {
		return err
	}
	if err := c.begin(); err != nil {
		return err
	}
	for c.state.Step < len(steps) {
		if err := c.carryOutStep(ctx, steps[c.state.Step]); err != nil {
			return c.howToGoOn(err)
		}
		if c.state.Step++; c.state.Step < len(steps) {
			if err := c.record(c.state); err != nil {
				return c.howToGoOn(err)
			}
		}
	}
	if err := c.reopen(steps); err != nil {
		return c.howToGoOn(err)
	}
	return nil
}

// ErrPartial is the error for a tree that is neither what it was nor what it is to be. It is closed until that is made good.
var ErrPartial = errors.New("the tree is closed (mode 0700) until the same command is given again, which goes on from here")

func (c *changer) howToGoOn(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		err = errInterrupted
	}
	return fmt.Errorf("%w; %w", err, ErrPartial)
}

// begin records what is going to be done, and closes the tree.
func (c *changer) begin() error {
	if !c.before.Partial() || c.before.Phase != c.state.Phase {
		if err := c.record(c.state); err != nil {
			return err
		}
	}
	i, err := c.view.Look()
	if err != nil {
		return err
	}
	if i.Mode&sys.SetModeBits != closedMode {
		if err := c.view.Chmod(closedMode); err != nil {
			return err
		}
	}
	if i.UID != 0 || i.GID != 0 {
		if err := c.view.Chown(0, 0); err != nil {
			return err
		}
	}
	return c.sync()
}

// carryOutStep changes all files but the root directory's owner and mode.
func (c *changer) carryOutStep(ctx context.Context, step idmap.Step) error {
	pass := "shift"
	if c.state.Phase == Unshifting {
		pass = "unshift"
	}
	rules := c.rules(step)
	count := newCounter(c.o.Jobs, pass, c.census.files, c.o.Progress)
	visitors, links := make([]visitor, c.o.Jobs), new(linkLocks)
	for i := range visitors {
		visitors[i] = &mover{tree: c.tree, o: c.o, rules: rules, known: c.census.links, links: links, memos: c.memos, began: c.began,
			progress: count}
	}
	err := c.walkTree(ctx, visitors)
	c.memos = nil // the owners are others now
	count.end()
	if err != nil {
		return err
	}
	root, err := c.look(&file{open: c.view}, rules)
	if err != nil {
		return err
	}
	root.plan.chown = false // that is the last thing
	if err := c.carryOut(root); err != nil {
		return err
	}
	return c.sync()
}

// sync makes sure that a crash of the machine leaves nothing that comes later without what came before.
func (c *changer) sync() error {
	if c.keepsOrder() {
		return nil
	}
	list, err := c.view.OpenSame()
	if err != nil {
		return err
	}
	defer list.Close()
	return list.SyncFS()
}

// reopen gives the root directory its owner and mode, and records that all is done.
func (c *changer) reopen(steps []idmap.Step) error {
	root := c.state.Root
	for _, step := range steps {
		root.UID, _ = step.UID.To(root.UID)
		root.GID, _ = step.GID.To(root.GID)
	}
	for number := range c.protectedFiles { // of files that are gone
		if err := c.removeFlags(number); err != nil {
			return err
		}
	}
	if err := c.view.Chown(root.UID, root.GID); err != nil {
		return err
	}
	if err := c.view.Chmod(root.Mode); err != nil {
		return err
	}
	return c.finishState()
}

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
		d.memo = v.memos.of(i, v.began)
	}
	if d.parent == nil {
		return nil // the root directory comes last
	}
	special, err := w.isSpecialDir(d)
	if err != nil {
		return err
	}
	return v.move(file{dir: d.parent, name: d.name, open: d.file, number: d.number}, i, special)
}

func (v *mover) visit(w *worker, d *dir, e sys.Entry, c *chunk) bool {
	v.progress.add(w.number)
	code := c.take(&e)
	if e.IsDir || code == dirCode {
		return true
	}
	if err := v.moveNamed(w, d.named(e.Name), c, code); err != nil {
		if errors.Is(err, errIsDir) {
			return true
		}
		w.fail(d, e.Name.String(), err)
	}
	return false
}

// errIsDir is for a file that turns out to be a directory.
var errIsDir = errors.New("it is a directory")

// moveNamed changes a file that is no directory. What is known of it by its code is not asked for.
func (v *mover) moveNamed(w *worker, f file, c *chunk, code uint16) error {
	i := &w.inode
	if code >= firstOwner {
		known := c.owner(code)
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
		if special, err = w.isSpecialName(f.name); err != nil {
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
	if err := v.checkLinks(i); err != nil {
		return err
	}
	moved := uid != i.UID || gid != i.GID
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
	if err := v.checkLinks(&s.inode); err != nil {
		return err
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
