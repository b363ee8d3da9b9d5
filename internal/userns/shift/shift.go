package shift

import (
	"context"
	"errors"
	"fmt"

	"palisade/internal/oci/idmap"
	"palisade/internal/userns/journal"
)

// Result is the result of Shift and Unshift.
type Result struct {
	// State is the recorded state of the tree, nil if there is none.
	State *journal.State
	// Files counts all files, Changed those that were changed or, with DryRun, would be.
	Files, Changed uint64
	Warnings       []string
}

// Shift changes the ids of the tree at path to those of the host, from the container's or from
// those of an earlier shift. It resumes an interrupted Shift with the same pair. With Options.Range,
// the pair is that of the tree's range; a pair that is not zero must be.
func Shift(ctx context.Context, path string, pair idmap.Pair, o Options) (Result, error) {
	if err := pair.Check(); err != nil && (o.Range == nil || !pair.IsZero()) {
		return Result{}, err
	}
	return run(ctx, path, &o, func(
		t *tree, s *journal.State, claim *journal.Claim,
	) (*journal.State, error) {
		pair := pair
		var err error
		if pair.IsZero() {
			pair, err = t.chooseRange(ctx, o.Range, s, claim)
		} else if o.Range != nil && s != nil {
			err = t.checkRange(o.Range, pair, s)
		}
		if err != nil {
			return nil, err
		}
		next := &journal.State{Phase: journal.Shifting, Change: idmap.Change{To: pair}}
		switch {
		case s == nil:
			return next, nil
		case s.Phase == journal.Shifting && s.Change.To.Equal(pair):
			return s, nil
		case s.Phase == journal.Shifted:
			next.Change.From = s.Change.To
			return next, nil
		}
		return nil, fmt.Errorf("the change %s was interrupted: complete it, or undo it with unshift",
			s.Describe())
	})
}

var errNotRecorded = errors.New("no shift is recorded: give the map it was shifted with")

// Unshift changes the ids of the tree at path back to the container's, also those of an interrupted
// Shift. from is the pair of the shift, which is required if it is not recorded.
func Unshift(ctx context.Context, path string, from idmap.Pair, o Options) (Result, error) {
	if err := from.Check(); err != nil && !from.IsZero() {
		return Result{}, err
	}
	return run(ctx, path, &o, func(
		_ *tree, s *journal.State, _ *journal.Claim,
	) (*journal.State, error) {
		next := &journal.State{Phase: journal.Unshifting}
		switch {
		case s == nil && from.IsZero():
			return nil, errNotRecorded
		case s == nil:
			next.Change.From = from
			return next, nil
		case !from.IsZero() && !from.Equal(s.Pair()):
			return nil, fmt.Errorf("the recorded change is %s, not %s", s.Describe(), from)
		case s.Phase == journal.Unshifting:
			return s, nil
		case s.Phase == journal.Shifting && (s.Change.Park != 0 || !s.Change.From.IsZero()):
			return nil, fmt.Errorf("the change %s was interrupted: complete it first", s.Describe())
		}
		next.Change.From, next.Root, next.Run = s.Change.To, s.Root, s.Run
		return next, nil
	})
}

// nextState returns the state to reach from the recorded one, or from a claim.
type nextState func(*tree, *journal.State, *journal.Claim) (*journal.State, error)

func run(ctx context.Context, path string, o *Options, next nextState) (Result, error) {
	t, err := open(path, o)
	if err != nil {
		return Result{}, err
	}
	defer t.close()
	if o.Caps == CapsV2 {
		if err := refuse(t.checkHostCaps()); err != nil {
			return Result{}, err
		}
	}
	if s := t.trusted(o, next); s != nil { // without the lock
		return Result{State: s}, nil
	}
	if err := refuse(checkPrivileges()); err != nil {
		return Result{}, err
	}
	if err := t.lockTree(ctx, o); err != nil {
		return Result{}, err
	}
	if s := t.trusted(o, next); s != nil {
		return Result{State: s}, nil
	}
	recorded, claim, err := t.State()
	if err != nil {
		return Result{}, fmt.Errorf("%s: %w", t.path, err)
	}
	if err := refuse(claimProblems(claim), nil); err != nil {
		return Result{}, err
	}
	state, err := next(t, recorded, claim)
	if claim != nil && errors.Is(err, errNotRecorded) {
		err = fmt.Errorf("%w; %s", err, claim)
	}
	if err != nil {
		return Result{}, fmt.Errorf("%s: %w", t.path, err)
	}
	c := &changer{tree: t, o: o, state: state, before: recorded}
	result, err := c.change(ctx)
	if _, ok := errors.AsType[Problems](err); err != nil && !ok {
		err = fmt.Errorf("%s: %w", t.path, err)
	}
	return result, err
}

// trusted returns the recorded state if Options.Trust allows it and nothing is left to change, else
// nil.
func (t *tree) trusted(o *Options, next nextState) *journal.State {
	if !o.Trust {
		return nil
	}
	recorded, _, err := t.State()
	if err != nil || recorded == nil || recorded.Phase != journal.Shifted {
		return nil
	}
	if wanted, err := next(t, recorded, nil); err != nil || !wanted.Change.To.Equal(recorded.Change.To) {
		return nil
	}
	if _, kind := recorded.Change.Total().UID.To(t.inode.UID); kind != idmap.Done {
		return nil // the tree was replaced after the shift
	}
	return recorded
}

func (c *changer) change(ctx context.Context) (Result, error) {
	if err := c.openView(); err != nil {
		return Result{}, err
	}
	if err := refuse(c.checkRoot(c.o)); err != nil {
		return Result{}, err
	}
	err := c.preflight(ctx)
	if isCancel(err) {
		err = fmt.Errorf("%w before anything was changed", errInterrupted)
	}
	if err != nil {
		return Result{}, err
	}
	result := Result{State: c.before, Files: c.scan.files, Changed: c.scan.toChange,
		Warnings: c.warnings()}
	if c.o.DryRun {
		return result, nil
	}
	if err := c.keepRange(ctx); err != nil {
		return Result{}, err
	}
	if c.scan.toChange > 0 || c.before.Partial() {
		err = c.apply(ctx)
	} else if !c.isFinalRecorded() {
		err = c.recordFinal()
	}
	if err == nil {
		result.State = c.finalState()
		err = c.freeRange(ctx)
	}
	return result, err
}
