// Package ranges allocates ranges of the host's ids to containers and trees, so that no two have an
// id in common, and no other user of the host has one.
//
// The registry is a directory with a symbolic link for each range: its name is the first id, and
// its target an Entry. symlink(2) creates a complete entry or none, fails if the block is taken,
// and does both on a disk that hosts share, too. So an allocation needs no lock. Removing an entry
// does: the lock is in a directory of this host, and each host removes only its own entries.
//
// Reading order: parse and taken (ids that others have), config (the bounds), registry, tree and
// record (owners), allocate, collect.
package ranges

import (
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"palisade/internal/linux/lockfile"
	"palisade/internal/linux/sys"
	"palisade/internal/oci/idmap"
)

// Registry is the registry of ranges in a directory.
type Registry struct {
	dir, lock, config string
	// root is the directory that holds etc, usr and proc.
	root string
	// machine and boot identify this host and its boot.
	machine, boot string
	// records holds a directory for each container, with the name of its range.
	records string
}

// Dirs are the directories and files of a registry.
type Dirs struct {
	// State is the state directory, which hosts may share. Lock is this host's, and empty after a
	// boot.
	State, Lock string
	// Config is the configuration file.
	Config string
}

// Open returns the registry in the directories. It creates nothing.
func Open(d Dirs) (*Registry, error) { return open(d, "/") }

func open(d Dirs, root string) (*Registry, error) {
	r := &Registry{dir: filepath.Join(d.State, "ranges"), lock: filepath.Join(d.Lock, "ranges.lock"),
		records: filepath.Join(d.Lock, "containers"), config: cmp.Or(d.Config, DefaultConfig), root: root}
	boot, err := sys.ReadFile(filepath.Join(root, "proc/sys/kernel/random/boot_id"), nil)
	if err != nil {
		return nil, err
	}
	r.boot = strings.TrimSpace(string(boot))
	// Without a machine id no entry is known to be this host's, and none is collected.
	machine, err := sys.ReadRegular(filepath.Join(root, "etc/machine-id"), 1<<10)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	// During the first boot the file may say "uninitialized" (machine-id(5)).
	if id, err := hex.DecodeString(strings.TrimSpace(string(machine))); err == nil && len(id) == 16 {
		r.machine = hex.EncodeToString(id)
	}
	return r, nil
}

// Kind is the kind of an entry's owner.
type Kind string

const (
	// ForTree is a directory whose files have ids of the range.
	ForTree Kind = "tree"
	// ForContainer is a container whose root file system is idmapped.
	ForContainer Kind = "container"
	// ForOther is reserved by an administrator.
	ForOther Kind = "reserved"
)

// Entry is a range in the registry.
type Entry struct {
	// First is the first id, Size the number of ids.
	First uint32 `json:"-"`
	Size  uint32 `json:"size"`
	Kind  Kind   `json:"kind"`
	// Owner is the path of a tree, the id of a container, or the name of a reservation.
	Owner string `json:"owner"`
	// FileSystem and Handle identify a tree.
	FileSystem string `json:"fs,omitempty"`
	Handle     []byte `json:"handle,omitempty"`
	// Machine and Boot identify the host that has made the entry, and its boot.
	Machine string `json:"machine"`
	Boot    string `json:"boot"`
	// Since is the time of the allocation in seconds since 1970.
	Since int64 `json:"since"`
	// Token distinguishes the entries of an owner.
	Token uint64 `json:"token"`
}

// Remap returns the range as uid:gid:offset.
func (e *Entry) Remap() idmap.Remap { return idmap.Remap{UID: e.First, GID: e.First, Offset: e.Size} }

// Pair returns the maps of a container with the range.
func (e *Entry) Pair() idmap.Pair { return e.Remap().Pair() }

// Time returns the time of the allocation.
func (e *Entry) Time() time.Time { return time.Unix(e.Since, 0) }

// describe names the owner in messages.
func (e *Entry) describe() string {
	if e.Kind == "" {
		return "an entry of another format"
	}
	return string(e.Kind) + " " + e.Owner
}

func (r *Registry) newEntry(kind Kind, owner string, size uint32) *Entry {
	return &Entry{Size: size, Kind: kind, Owner: ownerText(owner), Machine: r.machine, Boot: r.boot,
		Since: time.Now().Unix(), Token: rand.Uint64()}
}

// maxOwner bounds an owner in an entry: XFS limits the target of a symbolic link to 1024 bytes, and
// JSON may double the length. The owner of a tree is for readers; its handle identifies it.
const maxOwner = 300

// ownerText returns a name as an entry can hold it.
func ownerText(name string) string {
	isPrintable := utf8.ValidString(name) &&
		!strings.ContainsFunc(name, func(r rune) bool { return !strconv.IsPrint(r) })
	if !isPrintable {
		name = strconv.QuoteToASCII(name)
	}
	if len(name) > maxOwner {
		name = strings.ToValidUTF8(name[:maxOwner-3], "") + "..."
	}
	return name
}

func (r *Registry) path(first uint32) string {
	return filepath.Join(r.dir, strconv.FormatUint(uint64(first), 10))
}

// errTaken is the error of create if the block has an entry.
var errTaken = errors.New("the range is in the registry")

// create adds an entry, unless its block has one. It syncs entries that outlive this boot.
func (r *Registry) create(e *Entry) error {
	text, err := e.encode()
	if err != nil {
		return err
	}
	path := r.path(e.First)
	err = os.Symlink(text, path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(r.dir, 0o700); err != nil {
			return err
		}
		if err := sys.SyncDir(filepath.Dir(r.dir)); err != nil {
			return err
		}
		err = os.Symlink(text, path)
	}
	if errors.Is(err, fs.ErrExist) {
		// A server of NFS may report this for a repeated request that it has already carried out.
		if there, err := os.Readlink(path); err != nil || there != text {
			return errTaken
		}
		err = nil
	}
	if err == nil && e.Kind != ForContainer {
		err = sys.SyncDir(r.dir)
	}
	return err
}

// read returns the entry of a block, nil if it has none. An entry that cannot be parsed has no kind.
func (r *Registry) read(first uint32) (*Entry, error) {
	text, err := os.Readlink(r.path(first))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	e := &Entry{First: first, Size: BlockSize}
	if errors.Is(err, os.ErrInvalid) || err == nil && parseEntry([]byte(text), e) != nil {
		return e, nil
	}
	return e, err
}

func (e *Entry) encode() (string, error) {
	var text strings.Builder
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false) // for the length
	err := encoder.Encode(e)
	return strings.TrimSuffix(text.String(), "\n"), err
}

func parseEntry(text []byte, e *Entry) error {
	parsed := Entry{First: e.First}
	if err := json.Unmarshal(text, &parsed); err != nil {
		return err
	}
	if parsed.Size == 0 || parsed.Size > BlockSize ||
		!slices.Contains([]Kind{ForTree, ForContainer, ForOther}, parsed.Kind) {
		return fmt.Errorf("size %d, kind %q", parsed.Size, parsed.Kind)
	}
	*e = parsed
	return nil
}

// List returns all entries by their first ids.
func (r *Registry) List() ([]*Entry, error) {
	dir, err := os.Open(r.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	var entries []*Entry
	for _, name := range names {
		first, ok := parseID(name)
		if !ok || first%BlockSize != 0 {
			continue
		}
		e, err := r.read(first)
		if err != nil {
			return nil, err
		}
		if e != nil {
			entries = append(entries, e)
		}
	}
	slices.SortFunc(entries, func(a, b *Entry) int { return cmp.Compare(a.First, b.First) })
	return entries, nil
}

// lockTimeout limits the wait for other processes that change entries, each for less than a
// millisecond.
const lockTimeout = time.Minute

// locked calls do while this process is the only one of this host that removes or replaces entries.
func (r *Registry) locked(ctx context.Context, do func() error) error {
	lock, err := lockfile.Acquire(ctx, r.lock, lockTimeout)
	if err != nil {
		return err
	}
	return errors.Join(do(), lock.Close())
}

// removeIf removes the entry e under the lock, if it is still in the registry and isUnused returns
// true.
func (r *Registry) removeIf(
	ctx context.Context, e *Entry, isUnused func() bool,
) (removed bool, err error) {
	err = r.locked(ctx, func() error {
		now, err := r.read(e.First)
		if err != nil || now == nil || now.Token != e.Token || !isUnused() {
			return err
		}
		removed = true
		return os.Remove(r.path(e.First))
	})
	return removed, err
}

// replaceName is the name of an entry that is about to replace another one of this host.
func (r *Registry) replaceName() string { return filepath.Join(r.dir, ".new-"+r.machine) }

// replace replaces an entry of this host, under the lock.
func (r *Registry) replace(e *Entry) error {
	text, err := e.encode()
	if err != nil {
		return err
	}
	name := r.replaceName()
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) { // of a killed process
		return err
	}
	if err := os.Symlink(text, name); err != nil {
		return err
	}
	if err := os.Rename(name, r.path(e.First)); err != nil {
		return err
	}
	return sys.SyncDir(r.dir)
}
