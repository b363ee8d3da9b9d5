package journal

import (
	"errors"
	"os"
	"path/filepath"
	"strings"

	"palisade/internal/linux/sys"
)

// store keeps the values of a tree, by name.
type store interface {
	// names lists the names of the values.
	names() ([]string, error)
	// get returns a value, nil if there is none with this name.
	get(name string) ([]byte, error)
	set(name string, text []byte) error
	remove(name string) error
	// Finish removes everything that is left, the state last.
	Finish() error

	// recordOf returns where the record of an open file is: a store, and the name in it.
	recordOf(f sys.File, id Identity) (store, string)

	// String describes the place of the state; eraseCommand is a shell command that removes it.
	String() string
	eraseCommand(root string) string
}

// Names of a tree's values.
const (
	stateName    = "state"
	flagsPrefix  = "flags."
	recordPrefix = "record."
)

// Names of extended attributes. Processes in a user namespace can neither see nor change them, but
// an image can contain them.
const (
	// StateAttr holds the State, on the root directory.
	StateAttr = "trusted.userns_shift"
	// RecordAttr holds the record of a file, on that file.
	RecordAttr = "trusted.userns_shift.record"
	// attrPrefix, followed by flagsPrefix and an identity, names an attribute of the root directory
	// that holds the flags of an immutable or append-only file, which cannot have a record itself.
	attrPrefix = "trusted.userns_shift."
)

type attrStore struct{ root sys.File }

func attrName(name string) string {
	if name == stateName {
		return StateAttr
	}
	return attrPrefix + name
}

func (s attrStore) names() (names []string, err error) {
	attrs, err := s.root.AttrNames()
	for _, attr := range attrs {
		if name, ok := strings.CutPrefix(attr, attrPrefix); ok {
			names = append(names, name)
		}
	}
	return names, err
}

func (s attrStore) get(name string) ([]byte, error) { return s.root.Attr(attrName(name)) }
func (s attrStore) set(name string, text []byte) error {
	return s.root.SetAttr(attrName(name), text)
}
func (s attrStore) remove(name string) error { return s.root.RemoveAttr(attrName(name)) }
func (s attrStore) Finish() error            { return s.remove(stateName) }

func (s attrStore) recordOf(f sys.File, _ Identity) (store, string) {
	return attrStore{f}, strings.TrimPrefix(RecordAttr, attrPrefix)
}

func (s attrStore) String() string { return "the attribute " + StateAttr }

func (s attrStore) eraseCommand(root string) string {
	return "setfattr -x " + StateAttr + " " + root
}

// dirStore is a store in files of a directory, for file systems without extended attributes.
type dirStore struct {
	root sys.File
	dir  string
}

func (s *dirStore) names() (names []string, err error) {
	entries, err := os.ReadDir(s.dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, err
}

// Finish also removes the directory, with temporary files of processes that were killed.
func (s *dirStore) Finish() error {
	names, err := s.names()
	if err != nil {
		return err
	}
	for _, name := range names {
		if name == stateName {
			continue
		}
		if err := os.RemoveAll(filepath.Join(s.dir, name)); err != nil {
			return err
		}
	}
	return os.RemoveAll(s.dir)
}

func (s *dirStore) recordOf(_ sys.File, id Identity) (store, string) {
	return s, recordPrefix + string(id)
}

// maxRecord bounds the size of a file that is read, in bytes: more than is ever written.
const maxRecord = 64 << 10

func (s *dirStore) get(name string) ([]byte, error) {
	text, err := sys.ReadRegular(filepath.Join(s.dir, name), maxRecord)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	return text, err
}

func (s *dirStore) set(name string, text []byte) error {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	return sys.ReplaceFileSynced(filepath.Join(s.dir, name), text)
}

// remove first syncs the file system of the tree, so that no record is removed before the change it
// describes is on the disk.
func (s *dirStore) remove(name string) error {
	if s.root.IsOpen() {
		list, err := s.root.ReopenDir()
		if err == nil {
			err = errors.Join(list.SyncFS(), list.Close())
		}
		if err != nil {
			return err
		}
	}
	return os.RemoveAll(filepath.Join(s.dir, name)) // no error if it is missing
}

func (s *dirStore) String() string                  { return s.dir }
func (s *dirStore) eraseCommand(root string) string { return "rm -r " + s.dir }
