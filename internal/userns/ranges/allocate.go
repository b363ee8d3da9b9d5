package ranges

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"path/filepath"
	"slices"

	"palisade/internal/oci/idmap"
)

// Request is a request for a range.
type Request struct {
	*Registry
	// Size is the number of ids, 0 for the one in the configuration file.
	Size uint32
	// Container is the container that is started, if any. A tree takes over its range.
	Container Container
	// DryRun chooses a range, but adds nothing to the registry.
	DryRun bool
}

// Container identifies a container: runtimes with different state directories may use the same id,
// but not the same bundle at once.
type Container struct{ ID, Bundle string }

// allocation is the state of an attempt to find a range.
type allocation struct {
	*Registry
	config
	// taken are the ids that are taken by others than the registry.
	taken []Span
	// inUse is the part of it that running processes have mapped.
	inUse []Span
}

func (r *Registry) newAllocation() (*allocation, error) {
	c, err := readConfig(r.config)
	if err != nil {
		return nil, err
	}
	a := &allocation{Registry: r, config: c}
	fixed, err := configured(r.root)
	if err != nil {
		return nil, err
	}
	if a.inUse, err = running(filepath.Join(r.root, "proc")); err != nil {
		return nil, err
	}
	a.taken = slices.Concat(a.config.taken, fixed, a.inUse)
	a.taken = slices.DeleteFunc(a.taken, func(s Span) bool {
		return !slices.ContainsFunc(c.bounds, s.overlaps)
	})
	return a, nil
}

// order yields all blocks within the bounds in an order that depends on the owner, so that an owner
// that comes back is likely to get the same range, also on another host.
func (a *allocation) order(owner string) func(yield func(first uint32) bool) {
	h := fnv.New64a()
	h.Write([]byte(owner))
	sum := h.Sum64()
	n := uint64(a.blocks())
	at, step := sum>>32%n, sum%n
	for gcd(step, n) != 1 {
		step = (step + 1) % n
	}
	return func(yield func(uint32) bool) {
		for range n {
			if !yield(a.block(int(at))) {
				return
			}
			at = (at + step) % n
		}
	}
}

func gcd(a, b uint64) uint64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// find adds e to the registry at the first free block. isOwn reports whether an entry is already
// the owner's, which is returned then.
func (a *allocation) find(
	ctx context.Context, e *Entry, isDryRun bool, isOwn func(*Entry) bool,
) (*Entry, error) {
	e.Size = cmp.Or(e.Size, a.size)
	found, err := a.search(e, isDryRun, isOwn)
	if found != nil || err != nil {
		return found, err
	}
	if !isDryRun {
		if _, err := a.collect(ctx, a.inUse); err != nil {
			return nil, err
		}
		if found, err := a.search(e, isDryRun, isOwn); found != nil || err != nil {
			return found, err
		}
	}
	return nil, a.explainFull(e.Size)
}

func (a *allocation) search(
	e *Entry, isDryRun bool, isOwn func(*Entry) bool,
) (*Entry, error) {
	for first := range a.order(string(e.Kind) + e.FileSystem + string(e.Handle) + e.Owner) {
		if isOwn != nil {
			there, err := a.read(first)
			if err != nil {
				return nil, err
			}
			if there != nil && isOwn(there) && there.Size == e.Size {
				return there, nil
			}
		}
		if conflict(a.taken, first, e.Size) != nil {
			continue
		}
		e.First = first
		err := a.tryAdd(e, isDryRun)
		if err == nil {
			return e, nil
		}
		if !errors.Is(err, errTaken) {
			return nil, err
		}
	}
	return nil, nil
}

// tryAdd is create, but only checks the block if isDryRun is true.
func (a *allocation) tryAdd(e *Entry, isDryRun bool) error {
	if !isDryRun {
		return a.create(e)
	}
	there, err := a.read(e.First)
	if err == nil && there != nil {
		err = errTaken
	}
	return err
}

// explainFull returns the error for bounds without a free range.
func (a *allocation) explainFull(size uint32) error {
	entries, err := a.List()
	if err != nil {
		return err
	}
	registered, others := 0, make(map[string]int)
	for n := range a.blocks() {
		first := a.block(n)
		if slices.ContainsFunc(entries, func(e *Entry) bool { return e.First == first }) {
			registered++
		} else if s := conflict(a.taken, first, size); s != nil {
			others[fmt.Sprintf("%s has %s", s.By, s)]++
		}
	}
	text := fmt.Sprintf("no free range of %d ids in %s: %d of %d blocks are in the registry %s",
		size, a.describe(), registered, a.blocks(), a.dir)
	for i, by := range slices.Sorted(maps.Keys(others)) {
		if i == maxNamed {
			text += fmt.Sprintf("; and %d others", len(others)-maxNamed)
			break
		}
		text += "; " + by
	}
	return fmt.Errorf("%s (free ranges with userns-shift ranges free, or change bounds in %s)",
		text, a.config.file)
}

// maxNamed is the number of conflicts that an error names.
const maxNamed = 3

// ForContainer allocates a range for the container, and records it. A container that is started
// again without having been deleted keeps its range, unless processes still use that.
func (q *Request) ForContainer(ctx context.Context) (*Entry, error) {
	id := q.Container.ID
	if ownerText(id) != id {
		return nil, fmt.Errorf("container id %q: want at most %d printable characters for a range "+
			"of the registry", id, maxOwner)
	}
	a, err := q.newAllocation()
	if err != nil {
		return nil, err
	}
	if e := q.recorded(q.Container); e != nil && (q.Size == 0 || e.Size == q.Size) &&
		conflict(a.taken, e.First, e.Size) == nil {
		return e, nil
	}
	for {
		e, err := a.find(ctx, q.newEntry(ForContainer, id, q.Size), q.DryRun, nil)
		if err != nil || q.DryRun {
			return e, err
		}
		isKept, err := q.record(ctx, q.Container, e)
		if err != nil || isKept {
			return e, err
		}
	}
}

// Reserve adds a range for another program to the registry: the block that begins with first, or
// any if that is 0.
func (q *Request) Reserve(ctx context.Context, name string, first uint32) (*Entry, error) {
	a, err := q.newAllocation()
	if err != nil {
		return nil, err
	}
	e := q.newEntry(ForOther, name, q.Size)
	if first == 0 {
		return a.find(ctx, e, q.DryRun, nil)
	}
	e.First, e.Size = first, cmp.Or(e.Size, a.size)
	if err := a.check(e); err != nil {
		return nil, err
	}
	err = a.tryAdd(e, q.DryRun)
	if errors.Is(err, errTaken) {
		there, readErr := a.read(first)
		if readErr == nil && there != nil {
			err = fmt.Errorf("range %s: taken by %s", e.Remap(), there.describe())
		}
	}
	return e, err
}

// check fails unless the range is a block within the bounds that nothing outside the registry has.
func (a *allocation) check(e *Entry) error {
	if e.First%BlockSize != 0 || !a.has(e.First) {
		return fmt.Errorf("range %s: want a first id that is a multiple of %d in %s (see bounds in %s)",
			e.Remap(), BlockSize, a.describe(), a.config.file)
	}
	if s := conflict(a.taken, e.First, e.Size); s != nil {
		return fmt.Errorf("range %s: %s has %s", e.Remap(), s.By, s)
	}
	return nil
}

// ForTree returns the range of a tree, and allocates one if it has none. recorded are the maps to
// which the tree is shifted: they stay if they can be a range of the registry, and no other owner
// has it.
func (q *Request) ForTree(
	ctx context.Context, t Tree, recorded idmap.Pair,
) (*Entry, error) {
	if e, err := q.keep(ctx, t, recorded); e != nil || err != nil {
		return e, err
	}
	a, err := q.newAllocation()
	if err != nil {
		return nil, err
	}
	return a.find(ctx, q.newTreeEntry(t, q.Size), q.DryRun, t.owns)
}

func (q *Request) newTreeEntry(t Tree, size uint32) *Entry {
	e := q.newEntry(ForTree, t.Path, size)
	e.FileSystem, e.Handle = t.FileSystem, t.Handle
	return e
}

// keep makes the tree the owner of the range to which it is shifted. It returns nil if that is
// impossible.
func (q *Request) keep(ctx context.Context, t Tree, recorded idmap.Pair) (*Entry, error) {
	remap, ok := recorded.Remap()
	if !ok || remap.UID != remap.GID || remap.UID%BlockSize != 0 || remap.Offset > BlockSize ||
		q.Size != 0 && q.Size != remap.Offset {
		return nil, nil
	}
	e := q.newTreeEntry(t, remap.Offset)
	e.First = remap.UID
	there, err := q.read(e.First)
	switch {
	case err != nil:
		return nil, err
	case there == nil:
		a, err := q.newAllocation()
		if err != nil || a.check(e) != nil {
			return nil, err
		}
		if err = a.tryAdd(e, q.DryRun); errors.Is(err, errTaken) {
			return nil, nil
		}
		return e, err
	case t.owns(there) && there.Size == e.Size:
		return there, nil
	case !q.isContainers(there) || q.DryRun:
		return nil, nil
	}
	err = q.locked(ctx, func() error {
		now, err := q.read(e.First)
		if err == nil && (now == nil || now.Token != there.Token) {
			err = fmt.Errorf("range %s was freed while its container started", e.Remap())
		}
		if err != nil {
			return err
		}
		return q.replace(e)
	})
	return e, err
}

// entryOf returns the entry for maps of the tree, nil if the tree does not have it.
func (r *Registry) entryOf(t Tree, pair idmap.Pair) (*Entry, error) {
	remap, ok := pair.Remap()
	if !ok {
		return nil, nil
	}
	e, err := r.read(remap.UID)
	if err != nil || e == nil || !t.owns(e) || e.Remap() != remap {
		return nil, err
	}
	return e, nil
}

// TreeHas reports whether the maps are a range of the tree.
func (r *Registry) TreeHas(t Tree, pair idmap.Pair) (bool, error) {
	e, err := r.entryOf(t, pair)
	return e != nil, err
}

// FreeTree frees a range of the tree, if the maps are one.
func (r *Registry) FreeTree(ctx context.Context, t Tree, pair idmap.Pair) error {
	e, err := r.entryOf(t, pair)
	if e != nil {
		_, err = r.removeIf(ctx, e, func() bool { return true })
	}
	return err
}

// isContainers reports whether an entry is that of the container which is started.
func (q *Request) isContainers(e *Entry) bool {
	recorded := q.recorded(q.Container)
	return recorded != nil && recorded.First == e.First && recorded.Token == e.Token
}
