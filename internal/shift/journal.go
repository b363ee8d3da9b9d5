package shift

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"palisade/internal/sys"
)

// Extended attributes in which things are recorded. Processes in a user namespace can neither see nor change them.
const (
	// stateAttr, of the root directory, has its State.
	stateAttr = "trusted.userns_shift"
	// recordAttr, of a file, has its record.
	recordAttr = "trusted.userns_shift.record"
	// flagsAttr, of the root directory, with a number behind it, has the flags of a file that is protected from changes,
	// and so cannot have a record itself.
	flagsAttr = "trusted.userns_shift.flags."
)

// journal is where things are recorded.
type journal interface {
	state() ([]byte, error)
	setState(text []byte) error
	removeState() error

	// hasRecord tells whether a file has a record that its extended attributes do not show.
	hasRecord(i *sys.Inode) bool
	// record is what is recorded of a file, given that its extended attributes have this value for recordAttr.
	record(i *sys.Inode, attr []byte) ([]byte, error)
	setRecord(f sys.File, i *sys.Inode, text []byte) error
	removeRecord(f sys.File, i *sys.Inode) error

	// protected are the numbers (pathHash) of files whose flags are recorded.
	protected() (map[uint64]bool, error)
	flags(number uint64) ([]byte, error)
	setFlags(number uint64, text []byte) error
	removeFlags(number uint64) error
}

func openJournal(root sys.File, i *sys.Inode, stateDir string) (journal, error) {
	if root.HasTrustedAttrs() {
		return attrJournal{root}, nil
	}
	j := &dirJournal{root: root, dir: filepath.Join(stateDir, inodeID(i))}
	return j, j.load()
}

// inodeID names a file whatever its names are.
func inodeID(i *sys.Inode) string {
	return fmt.Sprintf("%d-%d-%d", i.FileSystem.Major, i.FileSystem.Minor, i.Number)
}

// attrJournal keeps everything in extended attributes.
type attrJournal struct{ root sys.File }

func (j attrJournal) state() ([]byte, error)     { return j.root.Attr(stateAttr) }
func (j attrJournal) setState(text []byte) error { return j.root.SetAttr(stateAttr, text) }
func (j attrJournal) removeState() error         { return j.root.RemoveAttr(stateAttr) }

func (j attrJournal) hasRecord(*sys.Inode) bool { return false }

func (j attrJournal) record(_ *sys.Inode, attr []byte) ([]byte, error) { return attr, nil }

func (j attrJournal) setRecord(f sys.File, _ *sys.Inode, text []byte) error {
	return f.SetAttr(recordAttr, text)
}

func (j attrJournal) removeRecord(f sys.File, _ *sys.Inode) error { return f.RemoveAttr(recordAttr) }

func (j attrJournal) protected() (map[uint64]bool, error) {
	names, err := j.root.AttrNames()
	return numbers(names, flagsAttr), err
}

// numbers are the numbers in names that begin with prefix.
func numbers(names []string, prefix string) map[uint64]bool {
	found := make(map[uint64]bool)
	for _, name := range names {
		var n uint64
		if rest, ok := strings.CutPrefix(name, prefix); ok {
			if _, err := fmt.Sscanf(rest, "%x", &n); err == nil {
				found[n] = true
			}
		}
	}
	return found
}

func numbered(prefix string, n uint64) string { return fmt.Sprintf("%s%016x", prefix, n) }

func (j attrJournal) flags(n uint64) ([]byte, error) { return j.root.Attr(numbered(flagsAttr, n)) }

func (j attrJournal) setFlags(n uint64, text []byte) error {
	return j.root.SetAttr(numbered(flagsAttr, n), text)
}

func (j attrJournal) removeFlags(n uint64) error { return j.root.RemoveAttr(numbered(flagsAttr, n)) }

// dirJournal keeps everything in files of a folder, for a file system without extended attributes.
type dirJournal struct {
	root sys.File
	dir  string
	// left are the names of the files that were there when it was opened.
	left []string
}

const (
	stateName    = "state"
	recordPrefix = "record."
	flagsPrefix  = "flags."
)

func (j *dirJournal) load() error {
	j.left = nil
	entries, err := os.ReadDir(j.dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		j.left = append(j.left, e.Name())
	}
	return err
}

func (j *dirJournal) state() ([]byte, error)     { return j.read(stateName) }
func (j *dirJournal) setState(text []byte) error { return j.write(stateName, text) }

// removeState removes the folder, too, with what a program has left there that was killed while it wrote a file.
func (j *dirJournal) removeState() error {
	if err := j.load(); err != nil {
		return err
	}
	for _, name := range append(slices.DeleteFunc(j.left, func(name string) bool { return name == stateName }), stateName) {
		if err := j.remove(name); err != nil {
			return err
		}
	}
	j.left = nil
	if err := os.Remove(j.dir); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

func (j *dirJournal) hasRecord(i *sys.Inode) bool {
	return len(j.left) > 0 && slices.Contains(j.left, recordPrefix+inodeID(i))
}

func (j *dirJournal) record(i *sys.Inode, _ []byte) ([]byte, error) {
	return j.read(recordPrefix + inodeID(i))
}

func (j *dirJournal) setRecord(_ sys.File, i *sys.Inode, text []byte) error {
	return j.write(recordPrefix+inodeID(i), text)
}

func (j *dirJournal) removeRecord(_ sys.File, i *sys.Inode) error {
	return j.removeSafe(recordPrefix + inodeID(i))
}

func (j *dirJournal) protected() (map[uint64]bool, error) { return numbers(j.left, flagsPrefix), nil }

func (j *dirJournal) flags(n uint64) ([]byte, error) { return j.read(numbered(flagsPrefix, n)) }
func (j *dirJournal) setFlags(n uint64, text []byte) error {
	return j.write(numbered(flagsPrefix, n), text)
}
func (j *dirJournal) removeFlags(n uint64) error {
	return j.removeSafe(numbered(flagsPrefix, n))
}

// removeSafe removes what is recorded of a file once the file's changes are on the disk, which is another one than the folder's.
func (j *dirJournal) removeSafe(name string) error {
	if j.root.IsOpen() {
		list, err := j.root.OpenSame()
		if err == nil {
			err = errors.Join(list.SyncFS(), list.Close())
		}
		if err != nil {
			return err
		}
	}
	return j.remove(name)
}

// maxRecord bounds what is read: more than is ever written.
const maxRecord = 64 << 10

func (j *dirJournal) read(name string) ([]byte, error) {
	text, err := sys.ReadRegular(filepath.Join(j.dir, name), maxRecord)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	return text, err
}

func (j *dirJournal) write(name string, text []byte) error {
	if err := os.MkdirAll(j.dir, 0o700); err != nil {
		return err
	}
	return sys.ReplaceFileSynced(filepath.Join(j.dir, name), text)
}

func (j *dirJournal) remove(name string) error {
	err := os.Remove(filepath.Join(j.dir, name))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}
