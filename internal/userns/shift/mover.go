package shift

import (
	"errors"
	"sync"
	"time"

	"palisade/internal/linux/sys"
	"palisade/internal/oci/idmap"
	"palisade/internal/userns/walk"
)

// mover is the visitor that changes files. Several workers share it.
type mover struct {
	*changer
	rules *rules
	// linked prevents two workers from changing a file with several names at the same time.
	linked   sync.Mutex
	progress *counter
}

func (v *mover) Enter(d *walk.Dir) error {
	n, err := openInode(&file{open: d.File})
	if err != nil {
		return err
	}
	d.Key = walk.KeyOf(&n.Inode)
	if d.Parent == nil {
		return nil // the root directory comes last
	}
	return v.move(&n)
}

func (v *mover) Visit(
	_ *sys.Thread, d *walk.Dir, name sys.Name, isDir bool,
) (bool, error) {
	v.progress.Add(1)
	if isDir {
		return true, nil
	}
	n, err := openInode(&file{dir: d, name: name})
	if err != nil {
		return false, err
	}
	defer n.close()
	switch {
	case n.IsDir():
		return true, nil
	case n.IsWhiteout():
		return false, nil
	}
	return false, v.move(&n)
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
	if !v.scan.inodes.has(key) {
		if _, ok := v.copied.Load(key); !ok {
			return errNew
		}
	}
	if v.o.HardLinks == Fail && i.Links > 1 && !i.IsDir() && i.Links > v.scan.links[key].all {
		return errLinked
	}
	return nil
}

func (v *mover) move(n *inode) error {
	if n.Links > 1 && !n.IsDir() {
		v.linked.Lock()
		defer v.linked.Unlock()
		if err := n.look(); err != nil {
			return err
		}
	}
	key := walk.KeyOf(&n.Inode)
	err := v.plan(n)
	if err != nil {
		return err
	}
	p := &n.plan
	if v.o.Unmapped == Fail && (p.uidKind == idmap.Unmapped || p.gidKind == idmap.Unmapped) {
		return errUnmapped
	}
	if p.isEmpty() && !n.isProtected {
		return nil
	}
	if err := v.check(&n.Inode); err != nil {
		return err
	}
	switch isFlagged := n.Immutable || n.AppendOnly; {
	case n.isProtected || isFlagged && v.o.Immutable == Clear:
		err = v.moveProtected(n)
	case !isFlagged:
		err = n.apply(v.Journal)
	case v.o.Immutable == Fail:
		err = errProtected
	}
	if now := walk.KeyOf(&n.Inode); now != key { // an overlay has copied it up
		v.copied.Store(now, true)
	}
	return err
}

// settleTime is the minimum time in ns between the last change of a file and the scan that makes
// its results valid. ctime is as coarse as the kernel's clock tick of at most 10 ms.
const settleTime = 100_000_000

// isPlain reports whether a file has nothing to change but its owner: the scan has found no
// attributes, and the ctime shows no change since.
func (v *mover) isPlain(i *sys.Inode) bool {
	settled := int64(settleTime)
	if i.Changed.Nsec == 0 { // maybe a file system that stores seconds, as ext3
		settled += int64(time.Second)
	}
	return !i.IsDir() && !i.HasSetID() && !v.scan.special.has(walk.KeyOf(i)) &&
		i.Changed.Until(v.scan.began) >= settled
}

// plan builds the plan for a file, and checks it against refusePrivileged.
func (v *mover) plan(n *inode) error {
	err := n.buildPlan(v.Journal, v.rules, v.isPlain(&n.Inode))
	if err == nil && v.refusePrivileged && n.isPrivileged() {
		err = errPrivileged
	}
	return err
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
		if flags, err = n.file.Flags(); err != nil {
			return err
		}
		if err := v.RecordFlags(id, v.rules.run, flags); err != nil {
			return err
		}
	}
	for _, step := range []func() error{
		func() error { return n.setFlags(sys.WithoutProtection(flags)) },
		n.look,
		func() error { return v.plan(n) },
		func() error { return n.apply(v.Journal) },
		func() error { return n.setFlags(flags) },
		func() error { return v.RemoveFlags(id) },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}
