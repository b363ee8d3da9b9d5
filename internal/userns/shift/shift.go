package shift

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"

	"palisade/internal/idmap"
	"palisade/internal/sys"
	"palisade/internal/userns/idmount"
)

// Result is what was done.
type Result struct {
	// State is what is recorded of the tree now, nil if nothing is.
	State *State
	// Files is how many there are, Changed how many of them were changed, or would be.
	Files, Changed uint64
	// Warnings are what should be known of the tree.
	Warnings []string
}

// Shift changes the ids of the tree at path from the container's, or those that it was shifted to before, to those of the
// pair. It goes on with what was interrupted.
func Shift(ctx context.Context, path string, pair idmap.Pair, o Options) (Result, error) {
	if err := pair.Check(); err != nil {
		return Result{}, err
	}
	return run(ctx, path, &o, func(s *State) (*State, error) {
		switch {
		case s == nil:
			return &State{Phase: Shifting, Change: idmap.Change{To: pair}}, nil
		case s.Phase == Shifting && s.Change.To.Equal(pair):
			return s, nil
		case s.Phase == Shifted:
			return &State{Phase: Shifting, Change: idmap.Change{From: s.Change.To, To: pair}}, nil
		}
		return nil, fmt.Errorf("it was interrupted on its way %s: finish that, or take it back with unshift", s.Describe())
	})
}

// Unshift changes the ids of the tree at path back to the container's. from is the pair that they were shifted to, if that
// is not recorded.
func Unshift(ctx context.Context, path string, from idmap.Pair, o Options) (Result, error) {
	if !from.IsZero() {
		if err := from.Check(); err != nil {
			return Result{}, err
		}
	}
	return run(ctx, path, &o, func(s *State) (*State, error) {
		switch {
		case s == nil && from.IsZero():
			return nil, errNotRecorded
		case s == nil:
			return &State{Phase: Unshifting, Change: idmap.Change{From: from}}, nil
		case !from.IsZero() && !from.Equal(s.Pair()):
			return nil, fmt.Errorf("it is recorded as %s, not %s", s.Describe(), from)
		case s.Phase == Unshifting:
			return s, nil
		case s.Phase == Shifting && (s.Change.Park != 0 || !s.Change.From.IsZero()):
			return nil, fmt.Errorf("it was interrupted on its way %s: finish that first", s.Describe())
		}
		return &State{Phase: Unshifting, Change: idmap.Change{From: s.Change.To}, Root: s.Root, Run: s.Run}, nil
	})
}

// errNotRecorded is the error for a tree without a trusted record.
var errNotRecorded = errors.New("no shift is recorded: give the map it was shifted with")

// Describe names the change that a state tells of.
func (s *State) Describe() string {
	switch s.Phase {
	case Unshifting:
		return fmt.Sprintf("back from %s", s.Change.From)
	case Shifting:
		return fmt.Sprintf("to %s", s.Change.To)
	}
	return fmt.Sprintf("shifted to %s", s.Change.To)
}

// run opens a tree and has it changed as next says, given what is recorded.
func run(ctx context.Context, path string, o *Options, next func(*State) (*State, error)) (Result, error) {
	o.complete()
	t, err := open(path, o.StateDir)
	if err != nil {
		return Result{}, err
	}
	defer t.close()
	if o.Caps == CapsV2 {
		if problems, err := t.checkHostCaps(); err != nil {
			return Result{}, err
		} else if len(problems) > 0 {
			return Result{}, problems
		}
	}
	if s := t.trusted(o, next); s != nil { // without the lock
		return Result{State: s}, nil
	}
	if problems, err := checkPrivileges(); err != nil {
		return Result{}, err
	} else if len(problems) > 0 {
		return Result{}, problems
	}
	if err := t.lockTree(ctx, o); err != nil {
		return Result{}, err
	}
	if s := t.trusted(o, next); s != nil {
		return Result{State: s}, nil
	}
	recorded, claim, err := t.recorded()
	if err != nil {
		return Result{}, fmt.Errorf("%s: %w", t.path, err)
	}
	if err := claim.err(); err != nil {
		return Result{}, err
	}
	state, err := next(recorded)
	if claim != nil && errors.Is(err, errNotRecorded) {
		err = fmt.Errorf("%w; %s", err, claim)
	}
	if err != nil {
		return Result{}, fmt.Errorf("%s: %w", t.path, err)
	}
	c := &changer{tree: t, o: o, state: state, before: recorded}
	result, err := c.change(ctx)
	if err != nil {
		var problems Problems
		if !errors.As(err, &problems) {
			err = fmt.Errorf("%s: %w", t.path, err)
		}
	}
	return result, err
}

// trusted is the recorded state, if it is believed and says that there is nothing to do; else nil.
func (t *tree) trusted(o *Options, next func(*State) (*State, error)) *State {
	if !o.Trust {
		return nil
	}
	recorded, _, err := t.recorded()
	if err != nil || recorded == nil || recorded.Phase != Shifted {
		return nil
	}
	if wanted, err := next(recorded); err != nil || !wanted.Change.To.Equal(recorded.Change.To) {
		return nil
	}
	judge := recorded.Change.Judge()
	if _, kind := judge.UID.To(t.inode.UID); kind != idmap.Done {
		return nil // not even the root directory is shifted
	}
	return recorded
}

// changer changes a tree from the state before to what state tells of.
type changer struct {
	*tree
	o             *Options
	before, state *State
	census        *census
	// memos are what is remembered of the files since the first pass, which began then.
	memos *memos
	began sys.Time
	// copied holds the new inodes of files that an overlay has copied up during the change.
	copied sync.Map
	// refusePrivileged reports that the change must not produce privileged programs.
	refusePrivileged bool
}

func (c *changer) change(ctx context.Context) (Result, error) {
	if err := c.openView(); err != nil {
		return Result{}, err
	}
	problems, err := c.checkPlace(c.o)
	if err != nil {
		return Result{}, err
	}
	if len(problems) > 0 {
		return Result{}, problems
	}
	if err := c.preflight(ctx); errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return Result{}, fmt.Errorf("%w before anything was changed", errInterrupted)
	} else if err != nil {
		return Result{}, err
	}
	result := Result{State: c.before, Files: c.census.files, Changed: c.census.moved, Warnings: c.warnings()}
	if c.o.DryRun {
		return result, nil
	}
	if c.census.moved > 0 || c.before.Partial() {
		err = c.carryOutAll(ctx)
	} else if !c.isRecorded() {
		err = c.finishState()
	}
	if err == nil {
		result.State = c.after()
	}
	return result, err
}

// isRecorded tells whether what is recorded need not be changed where no file need be.
func (c *changer) isRecorded() bool {
	if c.state.Phase == Unshifting {
		return c.before == nil && c.sealed == nil
	}
	return c.before != nil && c.before.Change.To.Equal(c.state.Change.To)
}

// after is the state at the end.
func (c *changer) after() *State {
	if c.state.Phase == Unshifting {
		return nil
	}
	return &State{Phase: Shifted, Change: idmap.Change{To: c.state.Change.To}}
}

func (c *changer) finishState() error {
	if err := c.removeFlags(""); err != nil { // of files that are gone, or from an image
		return err
	}
	after := c.after()
	if after == nil {
		return c.finish()
	}
	return c.record(after)
}

func (c *changer) record(s *State) error {
	text, err := s.encode()
	if err != nil {
		return err
	}
	return c.setState(text)
}

func (c *changer) rules(s idmap.Step) *rules {
	return &rules{Step: s, caps: c.o.Caps, dropSetID: c.o.DropSetID, run: c.state.Run}
}

// preflight looks at all files, and fails with Problems if something stands in the way.
func (c *changer) preflight(ctx context.Context) (err error) {
	isFresh := !c.before.Partial()
	if isFresh {
		if c.o.Unmapped == Squash {
			c.state.Change.Squash = &c.o.SquashTo
			if _, err := c.state.Change.Steps(); err != nil {
				return err
			}
		}
		c.state.Root = rootDir{c.inode.Mode & sys.SetModeBits, c.inode.UID, c.inode.GID}
		c.state.Run = rand.Uint64() | 1
	}
	if c.state.Change.Squash != nil {
		c.o.Unmapped = Squash // as was begun
	}
	c.began, c.memos = sys.Now(), newMemos()
	rules := c.rules(c.state.Change.Judge())
	if c.state.Step > 0 {
		steps, err := c.state.Change.Steps()
		if err != nil {
			return err
		}
		rules.previous, rules.next = &steps[c.state.Step-1], &steps[c.state.Step]
	}
	if c.census, err = c.inspect(ctx, rules, c.o, c.before, c.memos); err != nil {
		return err
	}
	if isFresh {
		if c.state.Change.Park, err = c.state.Change.FindPark(&c.census.ids); err != nil {
			return err
		}
	}
	if _, err := c.state.Change.Steps(); err != nil {
		return err
	}
	problems := c.census.problems(c.o, c.state.Change.To)
	if c.state.Phase == Unshifting && !c.o.DropSetID && !c.o.KeepSetID {
		// Of what an interrupted unshift has done already, nothing is known any more.
		isResumed := c.before.Partial() && c.before.Phase == Unshifting
		programs := c.census.setID.list()
		if isResumed {
			programs = strings.TrimPrefix(programs+", and those that are changed already", ", ")
		}
		exposed, err := c.checkPrivate("--drop-setid or --keep-setid",
			"programs with a set-id bit or capabilities would become the host's: "+programs)
		if err != nil {
			return err
		}
		c.refusePrivileged = len(exposed) > 0
		if c.census.setID.count > 0 || isResumed {
			problems = append(problems, exposed...)
		}
	}
	if isFresh && c.looksInterrupted() {
		problems.add("restore missing set-id bits and capabilities, and the mode of "+c.path+
			" with chmod", "%s looks like a shift that was interrupted, but has no record: "+
			"its mode is 0700, and some of its files are shifted", c.path)
	}
	if len(problems) > 0 {
		return problems
	}
	return nil
}

// checkHostCaps returns a problem if other users of the host could use capabilities of CapsV2.
func (t *tree) checkHostCaps() (Problems, error) {
	return t.checkPrivate("--caps v3", "--caps v2 would make capabilities valid on the host")
}

// checkPrivate returns a problem if other users of the host can reach the tree. danger is the
// consequence, and otherwise an option that avoids it.
func (t *tree) checkPrivate(otherwise, danger string) (p Problems, err error) {
	err = idmount.CheckPrivate(t.path)
	var reachable *idmount.ReachableError
	if !errors.As(err, &reachable) {
		return nil, err
	}
	p.add(reachable.Remedy+", or "+otherwise,
		"other users can reach %s; %s", reachable.Path, danger)
	return p, nil
}

// looksInterrupted reports whether a tree without a record has a closed root directory and shifted
// files, as after an interrupted shift whose record was lost.
func (c *changer) looksInterrupted() bool {
	shifted := c.census.below.after
	if c.state.Phase == Unshifting {
		shifted = c.census.below.before
	}
	return c.before == nil && shifted > 0 && c.state.Root == rootDir{Mode: closedMode}
}

// warnings are what should be known of a tree that can be changed.
func (c *changer) warnings() (texts []string) {
	warn := func(x *examples, format string) {
		if x.count > 0 {
			texts = append(texts, fmt.Sprintf(format, x.list()))
		}
	}
	if c.o.Unmapped == Keep {
		warn(&c.census.unmapped[0].examples, "uids that are not mapped are kept: %s")
		warn(&c.census.unmapped[1].examples, "gids that are not mapped are kept: %s")
	}
	if c.o.Immutable == Skip {
		warn(&c.census.flagged, "immutable and append-only files are left as they are: %s")
	}
	if c.state.Phase == Unshifting && !c.o.DropSetID {
		warn(&c.census.setID, "programs with a set-id bit or capabilities become the host's "+
			"(--drop-setid takes both away): %s")
	}
	warn(&c.census.foreign, "records of files that this run did not write are not trusted; "+
		"if they are of an earlier run, set-id bits and capabilities may be missing: %s")
	if len(c.hidden) > 0 {
		texts = append(texts, fmt.Sprintf("what is mounted in it, at %d places, is passed over, and what is hidden there stays as it is", len(c.hidden)))
	}
	return texts
}

// inspect takes a census of the tree, of which state is recorded, and memos, unless m is nil.
func (t *tree) inspect(ctx context.Context, r *rules, o *Options, state *State, m *memos) (*census, error) {
	var root *rootDir
	if state.Partial() {
		root = &state.Root
	}
	count := newCounter(o.Jobs, "check", 0, o.Progress)
	defer count.end()
	visitors, parts := make([]visitor, o.Jobs), make([]*census, o.Jobs)
	for i := range visitors {
		parts[i] = newCensus()
		v := &inspector{census: parts[i], tree: t, rules: r, flagPolicy: o.Immutable, root: root, progress: count}
		if m != nil {
			v.notes = &notes{memos: m}
		}
		visitors[i] = v
	}
	if err := t.walkTree(ctx, visitors); err != nil {
		return nil, err
	}
	for _, part := range parts[1:] {
		parts[0].merge(part)
	}
	return parts[0], nil
}
