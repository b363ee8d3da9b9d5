package shift

import (
	"bytes"

	"palisade/internal/idmap"
	"palisade/internal/sys"
	"palisade/internal/userns/idattr"
)

// CapsPolicy tells what becomes of file capabilities.
type CapsPolicy string

// What can become of them.
const (
	// CapsV3 are valid in the container's user namespace alone. It is reversed to the byte.
	CapsV3 CapsPolicy = "v3"
	// CapsV2 are valid on the host, too.
	CapsV2 CapsPolicy = "v2"
	// CapsDrop are gone.
	CapsDrop CapsPolicy = "drop"
)

// rules are how files are changed in a step.
type rules struct {
	idmap.Step
	// from maps the ids that the tree has now, if they are not the container's.
	from idmap.Pair
	caps CapsPolicy
	// dropSetID removes the set-id bits and the capabilities.
	dropSetID bool
	// run is the State.Run of the change; records of another one are not believed. It is 0 where nothing is going on.
	run uint64
	// previous is the last completed step, and next the one after it; nil if no step is complete.
	previous, next *idmap.Step
}

// isMissed reports whether a file has an id that the previous step changes and the next step does
// not map: then the previous step is not complete, whatever the record says.
func (r *rules) isMissed(i *sys.Inode) bool {
	if r.previous == nil {
		return false
	}
	for _, o := range []struct {
		id             uint32
		previous, next *idmap.Translation
	}{{i.UID, r.previous.UID, r.next.UID}, {i.GID, r.previous.GID, r.next.GID}} {
		_, before := o.previous.To(o.id)
		_, then := o.next.To(o.id)
		if before == idmap.Moved && then == idmap.Unmapped {
			return true
		}
	}
	return false
}

// attrs are the extended attributes that matter, nil where the file does not have them.
type attrs struct {
	caps, access, deflt []byte
	record              *record
	// isForeign tells that the file has a record that is not believed.
	isForeign bool
	// isRoot tells that the file has the state of a root file system.
	isRoot bool
}

// plan is what is to be changed of a file, in the order in which it is done.
type plan struct {
	// record is to be written first.
	record *record
	chown  bool
	// uid and gid are what it belongs to afterwards.
	uid, gid uint32
	setMode  bool
	mode     uint32
	// access and deflt are new access control lists, nil if they stay.
	access, deflt       []byte
	setCaps, removeCaps bool
	caps                []byte
	removeRecord        bool

	// uidKind, gidKind and capsKind are what becomes of the ids; notes are those of access control lists.
	uidKind, gidKind, capsKind idmap.Kind
	notes                      []idattr.ACLEntry
}

// isNothing tells whether there is nothing to do.
func (p *plan) isNothing() bool {
	return !p.chown && !p.setMode && !p.setCaps && !p.removeCaps && p.access == nil && p.deflt == nil && !p.removeRecord
}

// owner is what the owner and group of a file are to be.
func (r *rules) owner(i *sys.Inode) (uid, gid uint32, uidKind, gidKind idmap.Kind) {
	uid, uidKind = r.UID.To(i.UID)
	gid, gidKind = r.GID.To(i.GID)
	return uid, gid, uidKind, gidKind
}

// plan finds out what is to be done. It may be asked again at any time while it is being done.
func (r *rules) plan(i *sys.Inode, a *attrs) (p plan, err error) {
	p.uid, p.gid, p.uidKind, p.gidKind = r.owner(i)
	p.chown = p.uid != i.UID || p.gid != i.GID
	before := record{run: r.run, mode: i.Mode & sys.SetModeBits, caps: a.caps}
	if a.record != nil {
		before = *a.record
	}
	// A chown takes the set-id bits and the capabilities from all but directories.
	destroys := p.chown && !i.IsDir()
	hasSetID := !i.IsDir() && before.mode&setID != 0
	if destroys && a.record == nil && (hasSetID || before.caps != nil) {
		p.record = &before
	}
	p.removeRecord = p.record != nil || a.record != nil || a.isForeign
	if p.mode = before.mode; hasSetID && r.dropSetID {
		p.mode &^= setID
	}
	p.setMode = hasSetID && (destroys || p.mode != i.Mode&sys.SetModeBits)
	if err := r.planCaps(&p, before.caps, a.caps, destroys); err != nil {
		return p, err
	}
	return p, r.planACLs(&p, a)
}

const setID = 0o6000

// planCaps plans for capabilities that were before, and are current.
func (r *rules) planCaps(p *plan, before, current []byte, destroys bool) (err error) {
	p.capsKind = idmap.Done
	if before != nil {
		switch {
		case r.caps == CapsDrop, r.dropSetID:
			before = nil
		case r.caps == CapsV2:
			p.caps, err = idattr.HostCaps(before)
		default:
			p.caps, p.capsKind, err = idattr.TranslateCaps(before, r.UID)
		}
	}
	p.setCaps = p.caps != nil && (destroys || !bytes.Equal(p.caps, current))
	p.removeCaps = p.caps == nil && current != nil && !destroys
	return err
}

func (r *rules) planACLs(p *plan, a *attrs) error {
	for _, acl := range []struct {
		old []byte
		new *[]byte
	}{{a.access, &p.access}, {a.deflt, &p.deflt}} {
		if acl.old == nil {
			continue
		}
		changed, err := idattr.TranslateACL(acl.old, &r.Step, func(e idattr.ACLEntry) { p.notes = append(p.notes, e) })
		if err != nil {
			return err
		}
		if !bytes.Equal(changed, acl.old) {
			*acl.new = changed
		}
	}
	return nil
}
