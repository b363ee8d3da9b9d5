package shift

import (
	"bytes"

	"palisade/internal/linux/sys"
	"palisade/internal/oci/idmap"
	"palisade/internal/userns/idattr"
	"palisade/internal/userns/journal"
)

// rules determine how the files of a tree are changed in a step.
type rules struct {
	idmap.Step
	// from holds the maps of the tree's current ids, if they are not the container's.
	from idmap.Pair
	caps CapsPolicy
	// dropSetID removes set-id bits and capabilities.
	dropSetID bool
	// run is the State.Run of the change, 0 outside of a change.
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
	missed := func(id uint32, previous, next *idmap.Translation) bool {
		_, before := previous.To(id)
		_, after := next.To(id)
		return before == idmap.Moved && after == idmap.Unmapped
	}
	return missed(i.UID, r.previous.UID, r.next.UID) || missed(i.GID, r.previous.GID, r.next.GID)
}

// attrs holds the extended attributes of a file that a shift changes or uses, nil if it lacks them.
type attrs struct {
	caps, accessACL, defaultACL []byte
	record                      *journal.Record
	// isUntrusted reports that the file has a record that is not trusted, hasState that it has the
	// state of a tree.
	isUntrusted, hasState bool
}

// value returns the field for an extended attribute, nil if a shift does not change it.
func (a *attrs) value(name string) *[]byte {
	switch name {
	case idattr.Caps:
		return &a.caps
	case idattr.AccessACL:
		return &a.accessACL
	case idattr.DefaultACL:
		return &a.defaultACL
	}
	return nil
}

// plan lists the changes of a file, in the order in which they are made.
type plan struct {
	// record, if not nil, is written first.
	record *journal.Record
	chown  bool
	// uid and gid are the final owner.
	uid, gid uint32
	setMode  bool
	mode     uint32
	// accessACL and defaultACL are new access control lists, nil if they stay.
	accessACL, defaultACL []byte
	setCaps, removeCaps   bool
	caps                  []byte
	removeRecord          bool

	// The kinds of the owner's ids and of the id in the capabilities; aclEntries has those of the
	// access control lists.
	uidKind, gidKind, capsKind idmap.Kind
	aclEntries                 []idattr.ACLEntry
}

func (p *plan) isEmpty() bool {
	return !p.chown && !p.setMode && !p.setCaps && !p.removeCaps && !p.removeRecord &&
		p.accessACL == nil && p.defaultACL == nil
}

// plan returns the changes of a file. After any part of them, plan returns those that are left.
func (r *rules) plan(i *sys.Inode, a *attrs) (p plan, err error) {
	p.uid, p.uidKind = r.UID.To(i.UID)
	p.gid, p.gidKind = r.GID.To(i.GID)
	p.chown = p.uid != i.UID || p.gid != i.GID
	before := journal.Record{Run: r.run, Mode: i.Mode & sys.ChmodMask, Caps: a.caps}
	if a.record != nil {
		before = *a.record
	}
	// A chown clears the set-id bits and the capabilities of all files except directories.
	clears := p.chown && !i.IsDir()
	hasSetID := !i.IsDir() && before.Mode&setID != 0
	if clears && a.record == nil && (hasSetID || before.Caps != nil) {
		p.record = &before
	}
	p.removeRecord = p.record != nil || a.record != nil || a.isUntrusted
	if p.mode = before.Mode; hasSetID && r.dropSetID {
		p.mode &^= setID
	}
	p.setMode = hasSetID && (clears || p.mode != i.Mode&sys.ChmodMask)
	if err := r.planCaps(&p, before.Caps, a.caps, clears); err != nil {
		return p, err
	}
	if p.accessACL, err = r.planACL(&p, a.accessACL); err == nil {
		p.defaultACL, err = r.planACL(&p, a.defaultACL)
	}
	return p, err
}

const setID = 0o6000

// planCaps plans the change from the capabilities before the chown to the new ones.
func (r *rules) planCaps(p *plan, before, current []byte, clears bool) (err error) {
	p.capsKind = idmap.Done
	if before != nil {
		switch {
		case r.caps == CapsDrop, r.dropSetID:
		case r.caps == CapsV2:
			p.caps, err = idattr.HostCaps(before)
		default:
			p.caps, p.capsKind, err = idattr.TranslateCaps(before, r.UID)
		}
	}
	p.setCaps = p.caps != nil && (clears || !bytes.Equal(p.caps, current))
	p.removeCaps = p.caps == nil && current != nil && !clears
	return err
}

// planACL returns the new access control list, nil if the old one stays.
func (r *rules) planACL(p *plan, old []byte) ([]byte, error) {
	if old == nil {
		return nil, nil
	}
	changed, err := idattr.TranslateACL(old, &r.Step, func(e idattr.ACLEntry) {
		p.aclEntries = append(p.aclEntries, e)
	})
	if err != nil || bytes.Equal(changed, old) {
		return nil, err
	}
	return changed, nil
}
