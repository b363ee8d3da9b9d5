package shift

import (
	"context"
	"errors"
	"fmt"

	"palisade/internal/oci/idmap"
	"palisade/internal/userns/journal"
)

// Kind is the state of a tree's ids.
type Kind string

// Kinds. Without a record, owners below 65536 are taken to be the container's.
const (
	// IsNone has the container's ids.
	IsNone Kind = "none"
	// IsShifted has the record of a complete shift.
	IsShifted Kind = "shifted"
	// IsPartial has the record of an incomplete change.
	IsPartial Kind = "partial"
	// IsMixed has no record, and ids of both kinds.
	IsMixed Kind = "mixed"
	// IsUnmarked has no record, but only shifted ids.
	IsUnmarked Kind = "unmarked-shifted"
)

// Status is the result of ReadStatus.
type Status struct {
	Kind Kind
	// State is the recorded state, nil if there is none.
	State *journal.State
	// Claim is a record that is not trusted, nil if there is none.
	Claim *journal.Claim
}

// Describe returns the kind, and the maps if they are recorded.
func (s *Status) Describe() string {
	if s.State == nil {
		return string(s.Kind)
	}
	return fmt.Sprintf("%s %s", s.Kind, s.State.Pair())
}

// Recorded returns the recorded state of a tree, nil if there is none. It fails if an untrusted
// record says that the tree may be half shifted.
func Recorded(path string, o Options) (*journal.State, error) {
	t, err := open(path, &o)
	if err != nil {
		return nil, err
	}
	defer t.close()
	state, claim, err := t.State()
	if err = refuse(claimProblems(claim), err); err != nil {
		return nil, fmt.Errorf("%s: %w", t.path, err)
	}
	return state, nil
}

// ReadStatus returns the status of a tree. pair, if not zero, is the pair to which a tree without a
// record may have been shifted.
func ReadStatus(
	ctx context.Context, path string, pair idmap.Pair, o Options,
) (s Status, err error) {
	t, err := open(path, &o)
	if err != nil {
		return Status{}, err
	}
	defer t.close()
	state, claim, err := t.readableState()
	switch {
	case err != nil:
		return Status{}, fmt.Errorf("%s: %w", t.path, err)
	case state.Partial():
		return Status{Kind: IsPartial, State: state}, nil
	case state != nil:
		return Status{Kind: IsShifted, State: state}, nil
	}
	found, err := t.inspect(ctx, &idmap.Change{To: pair}, &o, nil)
	if err != nil {
		return Status{}, err
	}
	hasOwn, hasShifted := found.hasLow, found.hasHigh
	if !pair.IsZero() {
		hasOwn, hasShifted = found.toChange > 0, found.toChange < found.files
	}
	s = Status{Kind: IsNone, Claim: claim}
	switch {
	case hasOwn && hasShifted:
		s.Kind = IsMixed
	case hasShifted:
		s.Kind = IsUnmarked
	}
	return s, nil
}

func (t *tree) readableState() (*journal.State, *journal.Claim, error) {
	p, err := checkPrivileges()
	if err != nil {
		return nil, nil, err
	}
	if len(p) > 0 {
		return nil, nil, fmt.Errorf("read the recorded state: %s (%s)", p[0].Text, p[0].Remedy)
	}
	return t.State()
}

// inspect opens the view of the tree, and scans the files for a change.
func (t *tree) inspect(
	ctx context.Context, change *idmap.Change, o *Options, state *journal.State,
) (*scan, error) {
	r := &rules{Step: change.Total(), from: change.From, caps: o.Caps, dropSetID: o.DropSetID}
	if state.Partial() {
		r.run = state.Run
	}
	err := t.openView()
	var s *scan
	if err == nil {
		s, err = t.scan(ctx, r, o, state)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", t.path, err)
	}
	return s, nil
}

// Verify returns an error unless all files of a tree have ids of the recorded shift, and no record
// that they should not have; else the number of files, each counted once however many names it
// has, and the maps.
func Verify(ctx context.Context, path string, o Options) (files uint64, p idmap.Pair, err error) {
	t, err := open(path, &o)
	if err != nil {
		return 0, p, err
	}
	defer t.close()
	state, claim, err := t.readableState()
	switch {
	case err != nil:
	case claim != nil:
		err = fmt.Errorf("no shift is recorded: %s", claim)
	case state == nil:
		err = errors.New("no shift is recorded")
	case state.Partial():
		err = fmt.Errorf("the change %s was interrupted", state.Describe())
	}
	if err != nil {
		return 0, p, fmt.Errorf("%s: %w", t.path, err)
	}
	p = state.Change.To
	s, err := t.inspect(ctx, &idmap.Change{From: p, To: p}, &o, state)
	if err != nil {
		return 0, p, err
	}
	files, wrong := s.files, s.wrong.Count
	for _, l := range s.links {
		files -= uint64(l.found - 1)
		wrong -= uint64(max(l.wrong, 1) - 1)
	}
	if wrong == 0 {
		return files, p, nil
	}
	detail := ""
	for i, kind := range []string{"uids", "gids"} {
		if s.unmapped[i].Count > 0 {
			detail += fmt.Sprintf("; %s that are not mapped: %s", kind, s.unmapped[i].list())
		}
	}
	if detail == "" {
		detail = " (shift again)" // which repairs the tree
	}
	return files, p, fmt.Errorf("%s: %d of %d files do not match %s: %s%s",
		path, wrong, files, p, s.wrong.list(), detail)
}

// Check returns the problems of a shift, and of a container that uses the shifted tree. It changes
// nothing.
func Check(ctx context.Context, path string, pair idmap.Pair, o Options) (Problems, error) {
	if problems, err := checkPrivileges(); err != nil || len(problems) > 0 {
		return problems, err
	}
	t, err := open(path, &o)
	if err != nil {
		return nil, err
	}
	defer t.close()
	problems := checkDevpts(pair)
	state, claim, err := t.State()
	switch {
	case err != nil:
		problems.add(t.EraseCommand(), "%v", err)
	case claim.MayBePartial():
		problems = append(problems, claimProblems(claim)...)
	case state.Partial() &&
		!(state.Phase == journal.Shifting && state.Change.To.Equal(pair)):
		problems.add("complete it, or unshift",
			"the change %s was interrupted", state.Describe())
	}
	if o.Caps == CapsV2 {
		exposed, err := t.checkHostCaps()
		if err != nil {
			return nil, err
		}
		problems = append(problems, exposed...)
	}
	closed, err := ClosedAncestors(t.path, pair, false)
	if err != nil {
		return nil, err
	}
	problems = append(problems, closed...)
	change := idmap.Change{To: pair}
	if state != nil && !state.Partial() {
		change.From = state.Change.To
	}
	s, err := t.inspect(ctx, &change, &o, state)
	if err != nil {
		return nil, err
	}
	root, err := t.checkRoot(&o) // needs the view that inspect has opened
	if err != nil {
		return nil, err
	}
	problems = append(problems, root...)
	return append(problems, s.problems(&o, pair)...), nil
}
