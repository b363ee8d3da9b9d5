package shift

import (
	"context"
	"errors"
	"fmt"

	"palisade/internal/idmap"
)

// Kind is what a tree looks like.
type Kind string

// What it can look like. Without a record, owners below 65536 are taken to be the container's.
const (
	// IsNone has the container's ids.
	IsNone Kind = "none"
	// IsShifted has a record of a shift that is done.
	IsShifted Kind = "shifted"
	// IsPartial has a record of one that is not.
	IsPartial Kind = "partial"
	// IsMixed has no record, and ids of both kinds.
	IsMixed Kind = "mixed"
	// IsUnmarked has no record, but no id of the container's.
	IsUnmarked Kind = "unmarked-shifted"
)

// Status is what can be told of a tree.
type Status struct {
	Kind Kind
	// State is what is recorded, nil if nothing is.
	State *State
	// Files are how many there are; 0 if that was not to be known.
	Files uint64
	// Claim describes a record that is not trusted, "" if there is none.
	Claim string
}

// Describe says it in words: the kind, and the map as far as it is known.
func (s *Status) Describe() string {
	if s.State == nil {
		return string(s.Kind)
	}
	return fmt.Sprintf("%s %s", s.Kind, s.State.Pair())
}

// Recorded is what is recorded of a tree, nil if nothing is.
func Recorded(path string, o Options) (*State, error) {
	o.complete()
	t, err := open(path, o.StateDir)
	if err != nil {
		return nil, err
	}
	defer t.close()
	state, claim, err := t.recorded()
	if err == nil {
		err = claim.err()
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", t.path, err)
	}
	return state, nil
}

// ReadStatus tells what a tree looks like. pair, if it is not zero, is to what it may have been shifted without a record.
func ReadStatus(ctx context.Context, path string, pair idmap.Pair, o Options) (Status, error) {
	o.complete()
	t, err := open(path, o.StateDir)
	if err != nil {
		return Status{}, err
	}
	defer t.close()
	state, claim, err := t.recordedForAll()
	switch {
	case err != nil:
		return Status{}, fmt.Errorf("%s: %w", t.path, err)
	case state.Partial():
		return Status{Kind: IsPartial, State: state}, nil
	case state != nil:
		return Status{Kind: IsShifted, State: state}, nil
	}
	if err := t.openView(); err != nil {
		return Status{}, fmt.Errorf("%s: %w", t.path, err)
	}
	c, err := t.inspect(ctx, o.rulesFor(&idmap.Change{To: pair}, nil), &o, state, nil)
	if err != nil {
		return Status{}, fmt.Errorf("%s: %w", t.path, err)
	}
	own, shifted := c.low, c.high
	if !pair.IsZero() {
		own, shifted = c.moved > 0, c.done > 0
	}
	s := Status{Kind: IsNone, Files: c.files}
	if claim != nil {
		s.Claim = claim.String()
	}
	switch {
	case own && shifted:
		s.Kind = IsMixed
	case shifted:
		s.Kind = IsUnmarked
	}
	return s, nil
}

// recordedForAll is the recorded state for those who may see it, an error for others.
func (t *tree) recordedForAll() (*State, *claim, error) {
	p, err := checkPrivileges()
	if err != nil {
		return nil, nil, err
	}
	if len(p) > 0 {
		return nil, nil, fmt.Errorf("what is recorded cannot be seen: %s (%s)", p[0].Text, p[0].Remedy)
	}
	return t.recorded()
}

// rulesFor are the rules by which a change's files are judged.
func (o *Options) rulesFor(change *idmap.Change, state *State) *rules {
	r := &rules{Step: change.Judge(), from: change.From, caps: o.Caps, dropSetID: o.DropSetID}
	if state.Partial() {
		r.run = state.Run
	}
	return r
}

// Verification is what a look at all files has shown.
type Verification struct {
	Pair idmap.Pair
	// Files counts files, each once however many names it has. Wrong counts those among them with
	// ids, or a record, that they should not have.
	Files, Wrong uint64
	// Examples names wrong files. UIDs and GIDs are ids that the maps do not have, with their files.
	Examples, UIDs, GIDs string
}

// Verify looks whether all files of a tree have the ids to which it was shifted.
func Verify(ctx context.Context, path string, o Options) (Verification, error) {
	o.complete()
	t, err := open(path, o.StateDir)
	if err != nil {
		return Verification{}, err
	}
	defer t.close()
	state, claim, err := t.recordedForAll()
	if claim != nil {
		err = fmt.Errorf("no shift is recorded: %s", claim)
	} else if err == nil && state == nil {
		err = errors.New("no shift is recorded")
	} else if state.Partial() {
		err = fmt.Errorf("it was interrupted on its way %s", state.Describe())
	}
	if err == nil {
		err = t.openView()
	}
	if err != nil {
		return Verification{}, fmt.Errorf("%s: %w", t.path, err)
	}
	change := idmap.Change{From: state.Change.To, To: state.Change.To}
	c, err := t.inspect(ctx, o.rulesFor(&change, state), &o, state, nil)
	if err != nil {
		return Verification{}, fmt.Errorf("%s: %w", t.path, err)
	}
	v := Verification{Pair: state.Change.To, Files: c.files, Wrong: c.wrong.count,
		Examples: c.wrong.list(), UIDs: c.unmapped[0].list(), GIDs: c.unmapped[1].list()}
	for _, l := range c.links {
		v.Files -= uint64(l.found - 1)
		v.Wrong -= uint64(max(l.wrong, 1) - 1)
	}
	return v, nil
}

// Check looks for all that stands in the way of a shift, and of a container that is to use the tree afterwards. Nothing is
// changed.
func Check(ctx context.Context, path string, pair idmap.Pair, o Options) (Problems, error) {
	o.complete()
	if problems, err := checkPrivileges(); err != nil || len(problems) > 0 {
		return problems, err
	}
	t, err := open(path, o.StateDir)
	if err != nil {
		return nil, err
	}
	defer t.close()
	problems := CheckDevpts(pair)
	state, claim, err := t.recorded()
	var refusal Problems
	if err != nil {
		problems.add(t.eraseCommand(t.path), "%v", err)
	} else if errors.As(claim.err(), &refusal) {
		problems = append(problems, refusal...)
	} else if state.Partial() && !(state.Phase == Shifting && state.Change.To.Equal(pair)) {
		problems.add("finish that, or unshift", "it was interrupted on its way %s", state.Describe())
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
	if err := t.openView(); err != nil {
		return nil, fmt.Errorf("%s: %w", t.path, err)
	}
	place, err := t.checkPlace(&o)
	if err != nil {
		return nil, err
	}
	problems = append(problems, place...)
	change := idmap.Change{To: pair}
	if state != nil && !state.Partial() {
		change.From = state.Change.To
	}
	c, err := t.inspect(ctx, o.rulesFor(&change, state), &o, state, nil)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", t.path, err)
	}
	return append(problems, c.problems(&o, pair)...), nil
}
