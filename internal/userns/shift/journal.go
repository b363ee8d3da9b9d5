package shift

import (
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"palisade/internal/sys"
)

// journal holds the records of a tree. Each is sealed with the host's key for the file that it
// describes, and records of single files are valid only in the run that wrote them. So a record
// from another host, another file or another run is not trusted.
type journal struct {
	identifier
	store
	stateDir string
	key      key
	// dir is the root directory and root its identity. sealed is the state as found, nil if there is
	// none.
	dir    sys.File
	root   identity
	sealed []byte
	// protected holds the files with recorded flags, unlisted those whose record is not among their
	// attributes. Both are empty unless a run was interrupted.
	protected, unlisted map[identity]bool
}

// store keeps the values of a tree, by name, and a record for each of its files.
type store interface {
	// names lists the names of the tree's values.
	names() ([]string, error)
	// get returns a value of the tree, nil if there is none with this name.
	get(name string) ([]byte, error)
	set(name string, text []byte) error
	remove(name string) error
	// finish removes everything that is left, the state last.
	finish() error

	// getRecord returns the record of an open file, nil if there is none. isListed reports whether
	// the file has recordAttr.
	getRecord(f sys.File, id identity, isListed bool) ([]byte, error)
	putRecord(f sys.File, id identity, text []byte) error
	removeRecord(f sys.File, id identity) error
	// records lists the files whose record is not among their attributes.
	records() ([]identity, error)

	// String describes the place of the state; eraseCommand is a shell command that removes it.
	String() string
	eraseCommand(root string) string
}

// Names of a tree's values.
const (
	stateName   = "state"
	flagsPrefix = "flags."
)

func openJournal(root sys.File, i *sys.Inode, fsType int64, stateDir string) (*journal, error) {
	j := &journal{stateDir: stateDir, dir: root}
	isKept, err := root.HasTrustedAttrs(), error(nil)
	if j.identifier, err = newIdentifier(root, i, fsType, isKept); err != nil {
		return nil, err
	}
	if j.root, err = j.identityOf(root); err != nil {
		return nil, err
	}
	j.store = attrStore{root}
	if !isKept {
		j.store = &dirStore{root: root, dir: filepath.Join(stateDir, string(j.root))}
	}
	j.sealed, err = j.get(stateName)
	return j, err
}

// setView makes the journal write through view, a mount of the root directory that may be writable
// where the original mount is not.
func (j *journal) setView(view sys.File) {
	if _, ok := j.store.(attrStore); ok {
		j.dir, j.store = view, attrStore{view}
	}
}

// state returns the recorded state, nil if there is none. A state without a valid seal of this
// host's key is ignored.
func (j *journal) state() (*State, error) {
	if j.sealed == nil {
		return nil, nil
	}
	if j.key == nil {
		var err error
		if j.key, err = readKey(j.stateDir); err != nil {
			return nil, err
		}
	}
	text, ok := j.key.open(sealState, j.root, j.sealed)
	if !ok {
		return nil, nil
	}
	s, err := decodeState(text)
	if err != nil || !s.Partial() {
		return s, err
	}
	return s, j.loadPending(s.Run)
}

// loadPending fills protected and unlisted.
func (j *journal) loadPending(run uint64) error {
	names, err := j.names()
	if err != nil {
		return err
	}
	j.protected, j.unlisted = make(map[identity]bool), make(map[identity]bool)
	for _, name := range names {
		id, ok := strings.CutPrefix(name, flagsPrefix)
		if !ok {
			continue
		}
		if _, ok, err := j.flags(identity(id), run); err != nil {
			return err
		} else if ok {
			j.protected[identity(id)] = true
		}
	}
	ids, err := j.records()
	for _, id := range ids {
		j.unlisted[id] = true
	}
	return err
}

// pending returns the identity of the file name in the directory dir if it is protected or
// unlisted, and "" if not.
func (j *journal) pending(dir sys.File, name sys.Name) (id identity, isProtected bool, err error) {
	if len(j.protected) == 0 && len(j.unlisted) == 0 {
		return "", false, nil
	}
	if id, err = j.identityAt(dir, name); err != nil || !j.protected[id] && !j.unlisted[id] {
		return "", false, err
	}
	return id, j.protected[id], nil
}

// setState records the state of the tree. It creates the host's key if there is none.
func (j *journal) setState(text []byte) (err error) {
	if j.key == nil {
		if j.key, err = loadOrCreateKey(j.stateDir); err != nil {
			return fmt.Errorf("create the host's key: %w", err)
		}
	}
	return j.writeSealed(j.dir, &j.root, func(id identity) error {
		j.sealed = j.key.seal(sealState, id, text)
		return j.set(stateName, j.sealed)
	})
}

// writeSealed calls write with the identity of the open file f, and stores it in id. On an overlay,
// the write may copy the file up and so change its identity: then write is called again.
func (j *journal) writeSealed(f sys.File, id *identity, write func(identity) error) (err error) {
	for range 2 {
		if *id, err = j.identityOf(f); err != nil {
			return err
		}
		if err := write(*id); err != nil {
			return err
		}
		if now, err := j.identityOf(f); err != nil || now == *id {
			return err
		}
	}
	return errors.New("inode number changes with each write")
}

// record returns the run's record of an open file, nil if there is none. isForeign reports whether
// the file has a record that is not trusted.
func (j *journal) record(f sys.File, isListed bool, run uint64) (
	r *record, isForeign bool, err error,
) {
	id, err := j.identityOf(f)
	if err != nil {
		return nil, false, err
	}
	sealed, err := j.getRecord(f, id, isListed)
	if err != nil || sealed == nil {
		return nil, false, err
	}
	text, ok := j.key.open(sealRecord, id, sealed)
	if !ok {
		return nil, true, nil
	}
	r, err = decodeRecord(text)
	if err != nil || run == 0 || r.run != run {
		return nil, true, err
	}
	return r, false, nil
}

func (j *journal) setRecord(f sys.File, r *record) error {
	var id identity
	return j.writeSealed(f, &id, func(id identity) error {
		return j.putRecord(f, id, j.key.seal(sealRecord, id, r.encode()))
	})
}

func (j *journal) dropRecord(f sys.File) error {
	id, err := j.identityOf(f)
	if err != nil {
		return err
	}
	return j.removeRecord(f, id)
}

// flags returns the flags that the run has recorded for a file.
func (j *journal) flags(id identity, run uint64) (flags uint32, ok bool, err error) {
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

func (j *journal) setFlags(id identity, run uint64, flags uint32) error {
	text := binary.LittleEndian.AppendUint64(nil, run)
	text = j.key.seal(sealFlags, id, binary.LittleEndian.AppendUint32(text, flags))
	return j.set(flagsPrefix+string(id), text)
}

// removeFlags removes the recorded flags of a file, or of all files if id is "".
func (j *journal) removeFlags(id identity) error {
	names, err := []string{flagsPrefix + string(id)}, error(nil)
	if id == "" {
		if names, err = j.names(); err != nil {
			return err
		}
	}
	for _, name := range names {
		if strings.HasPrefix(name, flagsPrefix) {
			if err := j.remove(name); err != nil {
				return err
			}
		}
	}
	return nil
}
