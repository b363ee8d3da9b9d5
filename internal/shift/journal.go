package shift

import (
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"palisade/internal/sys"
)

// journal is what is recorded of a tree. All of it is sealed with the host's key for the file that
// it is about, and what is recorded of files counts in the run alone that recorded it. So nothing
// is believed that came with the files: neither from another host, nor from another file or run on
// this one.
type journal struct {
	identifier
	store
	stateDir string
	key      key
	// dir is the root directory, root its identity, sealed its state as it was found, nil if none was.
	dir    sys.File
	root   identity
	sealed []byte
	// protected are the files of which flags are recorded, unlisted those with a record that their
	// attributes do not show. Both are empty unless a run was interrupted.
	protected, unlisted map[identity]bool
}

// store keeps texts about a tree, and about each of its files.
type store interface {
	// names lists the texts about the tree.
	names() ([]string, error)
	// get returns a text about the tree, nil if there is none of this name.
	get(name string) ([]byte, error)
	set(name string, text []byte) error
	remove(name string) error
	// finish removes the state, after all that is left beside it.
	finish() error

	// getRecord returns what is recorded of an open file, nil if nothing is. isListed reports whether
	// the file has recordAttr.
	getRecord(f sys.File, id identity, isListed bool) ([]byte, error)
	putRecord(f sys.File, id identity, text []byte) error
	removeRecord(f sys.File, id identity) error
	// records lists the files with a record that their attributes do not show.
	records() ([]identity, error)

	// String says where the state is, and erase how it is removed.
	String() string
	erase(root string) string
}

// Names of the texts about a tree.
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
	if j.root, err = j.ofOpen(root); err != nil {
		return nil, err
	}
	j.store = attrStore{root}
	if !isKept {
		j.store = &dirStore{root: root, dir: filepath.Join(stateDir, string(j.root))}
	}
	j.sealed, err = j.get(stateName)
	return j, err
}

// use makes view the root directory that is written to: it may be writable where the mount is not.
func (j *journal) use(view sys.File) {
	if _, ok := j.store.(attrStore); ok {
		j.dir, j.store = view, attrStore{view}
	}
}

// state returns the recorded state, nil if none is. A state that was not recorded with this host's
// key counts as none; it is an error if it says that the tree is neither what it was nor what it
// must become.
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

// loadPending finds of which files something is recorded that their attributes do not show.
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

// pending returns the identity of the file name in the directory dir if something is recorded of it
// that its attributes do not show, and "" if not. isProtected reports whether that is its flags.
func (j *journal) pending(dir sys.File, name sys.Name) (id identity, isProtected bool, err error) {
	if len(j.protected) == 0 && len(j.unlisted) == 0 {
		return "", false, nil
	}
	if id, err = j.of(dir, name); err != nil || !j.protected[id] && !j.unlisted[id] {
		return "", false, err
	}
	return id, j.protected[id], nil
}

// setState records the state of the tree. The first one that is recorded on a host makes its key.
func (j *journal) setState(text []byte) (err error) {
	if j.key == nil {
		if j.key, err = makeKey(j.stateDir); err != nil {
			return fmt.Errorf("make the host's key: %w", err)
		}
	}
	return j.bind(j.dir, &j.root, func(id identity) error {
		j.sealed = j.key.seal(sealState, id, text)
		return j.set(stateName, j.sealed)
	})
}

// bind has a text written that is sealed for an open file. To write to a file on an overlay may
// give it another identity, since it is copied up: then it is written once more.
func (j *journal) bind(f sys.File, id *identity, write func(identity) error) (err error) {
	for range 2 {
		if *id, err = j.ofOpen(f); err != nil {
			return err
		}
		if err := write(*id); err != nil {
			return err
		}
		if now, err := j.ofOpen(f); err != nil || now == *id {
			return err
		}
	}
	return errors.New("the file's inode number changes with each look")
}

// record returns what the run has recorded of an open file, nil if nothing. isForeign reports
// whether the file has a record of something else.
func (j *journal) record(f sys.File, isListed bool, run uint64) (
	r *record, isForeign bool, err error,
) {
	id, err := j.ofOpen(f)
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
	return j.bind(f, &id, func(id identity) error {
		return j.putRecord(f, id, j.key.seal(sealRecord, id, r.encode()))
	})
}

func (j *journal) dropRecord(f sys.File) error {
	id, err := j.ofOpen(f)
	if err != nil {
		return err
	}
	return j.removeRecord(f, id)
}

// flags returns the flags that the run has recorded of a file.
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

// removeFlags removes the recorded flags of a file, of all files if id is "".
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
