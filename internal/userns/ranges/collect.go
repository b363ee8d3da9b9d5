package ranges

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
)

// Use says whether a range is in use.
type Use string

const (
	// Used is in use by what the reason says.
	Used Use = "used"
	// Unused is in use by nothing, for certain.
	Unused Use = "unused"
	// Unknown may be in use.
	Unknown Use = "unknown"
)

// Status is the state of a range, and the reason for it.
type Status struct {
	Use    Use
	Reason string
}

// status finds out whether an entry is in use. inUse are the ids that processes have mapped.
func (r *Registry) status(e *Entry, inUse []Span) Status {
	if s := conflict(inUse, e.First, e.Size); s != nil {
		return Status{Used, s.By}
	}
	switch {
	case e.Kind == ForOther:
		return Status{Used, "reserved"}
	case e.Kind == "":
		return Status{Unknown, "the entry has another format"}
	case r.machine == "" || e.Machine != r.machine:
		return Status{Unknown, "allocated by the host with the machine id " + e.Machine}
	case e.Kind == ForTree:
		t := Tree{e.Owner, e.FileSystem, e.Handle}
		if t.isGone() {
			return Status{Unused, "the tree is deleted"}
		}
		return Status{Used, "the tree exists, or its file system is not mounted"}
	case e.Boot != r.boot:
		return Status{Unused, "the container was started before the last boot"}
	}
	isRecorded, err := r.isRecorded(e)
	switch {
	case err != nil:
		return Status{Unknown, err.Error()}
	case isRecorded:
		return Status{Used, "the container is not deleted"}
	}
	return Status{Unused, "the container has no record and no process"}
}

// Listed is an entry with its state.
type Listed struct {
	*Entry
	Status
	// Conflict says who else has an id of the range, "" if no other program does.
	Conflict string
}

// ListStatus returns all entries with their states.
func (r *Registry) ListStatus() ([]Listed, error) {
	entries, err := r.List()
	if err != nil {
		return nil, err
	}
	inUse, err := running(filepath.Join(r.root, "proc"))
	if err != nil {
		return nil, err
	}
	fixed, err := configured(r.root)
	if err != nil {
		return nil, err
	}
	listed := make([]Listed, len(entries))
	for i, e := range entries {
		listed[i] = Listed{e, r.status(e, inUse), ""}
		others := slices.DeleteFunc(slices.Clone(fixed), func(s Span) bool {
			// lcr writes the range of the container that it has created last to /etc/subuid.
			return s.First == e.First && s.Last == newSpan(e.First, uint64(e.Size), "").Last
		})
		if s := conflict(others, e.First, e.Size); s != nil {
			listed[i].Conflict = fmt.Sprintf("%s has %s", s.By, s)
		}
	}
	return listed, nil
}

// Collect frees all ranges that are unused for certain, and returns them.
func (r *Registry) Collect(ctx context.Context) ([]*Entry, error) {
	inUse, err := running(filepath.Join(r.root, "proc"))
	if err != nil {
		return nil, err
	}
	return r.collect(ctx, inUse)
}

func (r *Registry) collect(ctx context.Context, inUse []Span) (freed []*Entry, err error) {
	entries, err := r.List()
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		isUnused := func() bool { return r.status(e, inUse).Use == Unused }
		if !isUnused() {
			continue
		}
		removed, err := r.removeIf(ctx, e, isUnused)
		if err != nil {
			return freed, err
		}
		if removed {
			freed = append(freed, e)
		}
	}
	return freed, nil
}

// Free frees the range that begins with first. Unless force is true, it fails if that is or may be
// in use.
func (r *Registry) Free(ctx context.Context, first uint32, force bool) (*Entry, error) {
	e, err := r.read(first)
	if err != nil {
		return nil, err
	}
	if e == nil {
		return nil, fmt.Errorf("no range in the registry %s begins with %d", r.dir, first)
	}
	inUse, err := running(filepath.Join(r.root, "proc"))
	if err != nil {
		return nil, err
	}
	status := r.status(e, inUse)
	isReserved := e.Kind == ForOther && conflict(inUse, e.First, e.Size) == nil
	if status.Use != Unused && !isReserved && !force {
		return nil, fmt.Errorf("range %s of %s is not free: %s (--force frees it)",
			e.Remap(), e.describe(), status.Reason)
	}
	_, err = r.removeIf(ctx, e, func() bool { return true })
	return e, err
}
