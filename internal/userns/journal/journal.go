// Package journal keeps the records of a tree whose ids are changed: the state of the change, and
// what a chown clears from single files. Each record is sealed with the host's key for the file
// that it describes, and the records of single files are valid only for the change that wrote them.
// So a record from an image, another host, another file or another change is not trusted.
//
// Reading order: state (the contents), identity (of files), key (seals), store (extended
// attributes, or a directory), journal.
package journal

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"palisade/internal/linux/sys"
)

// Journal holds the records of a tree.
type Journal struct {
	identifier
	store
	stateDir string
	key      key
	// path and dir are the root directory, and root is its identity.
	path string
	dir  sys.File
	root Identity
	// sealed is the state as found, nil if there is none.
	sealed []byte
	// protected holds the files with recorded flags, unlisted those whose record is not among their
	// attributes. Both are empty unless a change was interrupted.
	protected, unlisted map[Identity]bool
}

// Open opens the journal of the tree with the open root directory at path. stateDir holds the
// host's key, and the records if the file system cannot.
func Open(
	root sys.File, path string, i *sys.Inode, fsType int64, stateDir string,
) (*Journal, error) {
	j := &Journal{stateDir: stateDir, path: path, dir: root}
	isKept, err := root.HasTrustedAttrs(), error(nil)
	if j.identifier, err = newIdentifier(root, i, fsType, isKept); err != nil {
		return nil, err
	}
	if j.root, err = j.IdentityOf(root); err != nil {
		return nil, err
	}
	j.store = attrStore{root}
	if !isKept {
		j.store = &dirStore{root: root, dir: filepath.Join(stateDir, string(j.root))}
	}
	j.sealed, err = j.get(stateName)
	return j, err
}

// SetView makes the journal write through view, a mount of the root directory that may be writable
// where the original mount is not.
func (j *Journal) SetView(view sys.File) {
	if _, ok := j.store.(attrStore); ok {
		j.dir, j.store = view, attrStore{view}
	}
}

// EraseCommand returns a shell command that removes the state.
func (j *Journal) EraseCommand() string { return j.eraseCommand(j.path) }

// HasState reports whether the tree has a state, trusted or not.
func (j *Journal) HasState() bool { return j.sealed != nil }

// State returns the state that this host has recorded, or else a claim. Both are nil if there is no
// record.
func (j *Journal) State() (*State, *Claim, error) {
	if j.sealed == nil {
		return nil, nil, nil
	}
	if j.key == nil {
		var err error
		if j.key, err = readKey(j.stateDir); err != nil {
			return nil, nil, err
		}
	}
	text, ok := j.key.open(sealState, j.root, j.sealed)
	if !ok {
		return nil, j.claim(), nil
	}
	s, err := decodeState(text)
	if err == nil && s.Partial() {
		err = j.loadPending(s.Run)
	}
	return s, nil, err
}

func (j *Journal) claim() *Claim {
	c := &Claim{
		where: j.String(), EraseCommand: j.EraseCommand(), key: filepath.Join(j.stateDir, keyName),
	}
	var text json.RawMessage // without the seal that follows it
	err := json.NewDecoder(bytes.NewReader(j.sealed)).Decode(&text)
	if err == nil {
		c.State, _ = decodeState(text)
	}
	return c
}

func (j *Journal) loadPending(run uint64) error {
	names, err := j.names()
	if err != nil {
		return err
	}
	j.protected, j.unlisted = make(map[Identity]bool), make(map[Identity]bool)
	for _, name := range names {
		if id, ok := strings.CutPrefix(name, recordPrefix); ok {
			j.unlisted[Identity(id)] = true
		} else if id, ok := strings.CutPrefix(name, flagsPrefix); ok {
			if _, ok, err := j.RecordedFlags(Identity(id), run); err != nil {
				return err
			} else if ok {
				j.protected[Identity(id)] = true
			}
		}
	}
	return nil
}

// HasPending reports whether Pending is true for some file.
func (j *Journal) HasPending() bool { return len(j.protected)+len(j.unlisted) > 0 }

// Pending reports whether an interrupted change has left records of an open file that are not
// among its attributes, and whether it has cleared the file's flags.
func (j *Journal) Pending(f sys.File) (isPending, isProtected bool, err error) {
	if !j.HasPending() {
		return false, false, nil
	}
	id, err := j.IdentityOf(f)
	isProtected = j.protected[id]
	return isProtected || j.unlisted[id], isProtected, err
}

// SetState records the state of the tree. It creates the host's key if there is none.
func (j *Journal) SetState(s *State) error {
	text, err := s.encode()
	if err != nil {
		return err
	}
	if j.key == nil {
		if j.key, err = loadOrCreateKey(j.stateDir); err != nil {
			return fmt.Errorf("create the host's key: %w", err)
		}
	}
	return j.writeSealed(j.dir, &j.root, func(id Identity) error {
		j.sealed = j.key.seal(sealState, id, text)
		return j.set(stateName, j.sealed)
	})
}

// writeSealed calls write with the identity of the open file f, and stores it in id. On an overlay,
// the write may copy the file up and so change its identity: then write is called again.
func (j *Journal) writeSealed(f sys.File, id *Identity, write func(Identity) error) (err error) {
	for range 2 {
		if *id, err = j.IdentityOf(f); err != nil {
			return err
		}
		if err := write(*id); err != nil {
			return err
		}
		if now, err := j.IdentityOf(f); err != nil || now == *id {
			return err
		}
	}
	return errors.New("inode number changes with each write")
}

// Record returns the run's record of an open file, nil if there is none. isUntrusted reports
// whether the file has a record that is not trusted.
func (j *Journal) Record(f sys.File, run uint64) (r *Record, isUntrusted bool, err error) {
	id, err := j.IdentityOf(f)
	if err != nil {
		return nil, false, err
	}
	s, name := j.recordOf(f, id)
	sealed, err := s.get(name)
	if err != nil || sealed == nil {
		return nil, false, err
	}
	text, ok := j.key.open(sealRecord, id, sealed)
	if !ok {
		return nil, true, nil
	}
	r, err = decodeRecord(text)
	if err != nil || run == 0 || r.Run != run {
		return nil, true, err
	}
	return r, false, nil
}

// SetRecord writes the record of an open file.
func (j *Journal) SetRecord(f sys.File, r *Record) error {
	var id Identity
	return j.writeSealed(f, &id, func(id Identity) error {
		s, name := j.recordOf(f, id)
		return s.set(name, j.key.seal(sealRecord, id, r.encode()))
	})
}

// RemoveRecord removes the record of an open file.
func (j *Journal) RemoveRecord(f sys.File) error {
	id, err := j.IdentityOf(f)
	if err != nil {
		return err
	}
	s, name := j.recordOf(f, id)
	return s.remove(name)
}

// RecordedFlags returns the flags that the run has recorded for a file, and reports whether it has.
func (j *Journal) RecordedFlags(id Identity, run uint64) (flags uint32, ok bool, err error) {
	sealed, err := j.get(flagsPrefix + string(id))
	if err != nil {
		return 0, false, err
	}
	text, ok := j.key.open(sealFlags, id, sealed)
	if !ok || len(text) != 12 || binary.LittleEndian.Uint64(text) != run {
		return 0, false, nil
	}
	return binary.LittleEndian.Uint32(text[8:]), true, nil
}

// RecordFlags records the flags of a file before they are cleared.
func (j *Journal) RecordFlags(id Identity, run uint64, flags uint32) error {
	text := binary.LittleEndian.AppendUint64(nil, run)
	text = j.key.seal(sealFlags, id, binary.LittleEndian.AppendUint32(text, flags))
	return j.set(flagsPrefix+string(id), text)
}

// RemoveFlags removes the recorded flags of a file.
func (j *Journal) RemoveFlags(id Identity) error { return j.remove(flagsPrefix + string(id)) }

// RemoveAllFlags removes the recorded flags of all files, also of files that are gone or that come
// from an image.
func (j *Journal) RemoveAllFlags() error {
	names, err := j.names()
	for _, name := range names {
		if err == nil && strings.HasPrefix(name, flagsPrefix) {
			err = j.remove(name)
		}
	}
	return err
}

// Claim is a state without a valid seal: it comes from an image, another host or an earlier
// release, or the key is lost. It is not trusted, only reported.
type Claim struct {
	// State is the claimed state, nil if it cannot be parsed.
	State *State
	// EraseCommand is a shell command that removes the claim.
	EraseCommand string
	where, key   string
}

// MayBePartial reports whether the tree's change may be incomplete. Then set-id bits and
// capabilities may exist only in the untrusted records. The claim of a complete shift can be
// ignored: the owners of the files show the state. So can a nil claim.
func (c *Claim) MayBePartial() bool { return c != nil && (c.State == nil || c.State.Partial()) }

// String describes the claim in messages.
func (c *Claim) String() string {
	content := "something unknown"
	if c.State != nil {
		content = c.State.Describe()
	}
	return fmt.Sprintf("%s was not written with this host's key %s (it says: %.200s)",
		c.where, c.key, content)
}
