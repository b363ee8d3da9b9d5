package shift

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"palisade/internal/oci/idmap"
	"palisade/internal/userns/journal"
	"palisade/internal/userns/walk"
)

// ErrPartial is the error for a tree that was changed in part, and is closed.
var ErrPartial = errors.New(
	"the tree stays closed (mode 0700) until you run the same command again, which resumes")

var errInterrupted = errors.New("interrupted")

// wrapResumable adds to an error that the change can be resumed.
func wrapResumable(err error) error {
	if isCancel(err) {
		err = errInterrupted
	}
	return fmt.Errorf("%w; %w", err, ErrPartial)
}

func isCancel(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// apply makes all changes. If it fails, the tree stays closed, and the recorded state is that to
// resume from.
func (c *changer) apply(ctx context.Context) error {
	steps, err := c.state.Change.Steps()
	if err != nil {
		return err
	}
	if err := refuse(c.checkOccupants(c.scan.inodes, c.o)); err != nil {
		return err
	}
	if err := c.begin(); err != nil {
		return err
	}
	if err := c.applySteps(ctx, steps); err != nil {
		return wrapResumable(err)
	}
	return nil
}

func (c *changer) applySteps(ctx context.Context, steps []idmap.Step) error {
	// A process may have entered before the root directory was closed.
	if problems, err := c.checkOccupants(c.scan.inodes, c.o); err != nil {
		return err
	} else if len(problems) > 0 {
		return errors.New(problems[0].Text)
	}
	for c.state.Step < len(steps) {
		if err := c.applyStep(ctx, steps[c.state.Step]); err != nil {
			return err
		}
		if c.state.Step++; c.state.Step < len(steps) {
			if err := c.SetState(c.state); err != nil {
				return err
			}
		}
	}
	return c.reopen(steps)
}

// begin records the change, and closes the tree.
func (c *changer) begin() error {
	if !c.before.Partial() || c.before.Phase != c.state.Phase {
		if err := c.SetState(c.state); err != nil {
			return err
		}
	}
	if err := (&inode{file: c.view}).setRoot(journal.RootDir{Mode: closedMode}); err != nil {
		return err
	}
	return c.sync()
}

// applyStep changes all files, except the owner and mode of the root directory.
func (c *changer) applyStep(ctx context.Context, step idmap.Step) error {
	pass := "shift"
	if c.state.Phase == journal.Unshifting {
		pass = "unshift"
	}
	count := startCounter(pass, c.scan.files, c.o.Progress)
	mover := &mover{changer: c, rules: c.rules(step), progress: count}
	err := c.walk(ctx, slices.Repeat([]walk.Visitor{mover}, c.o.Jobs))
	count.end()
	if err != nil {
		return err
	}
	root, err := openInode(&file{open: c.view})
	if err != nil {
		return err
	}
	if err := root.buildPlan(c.Journal, mover.rules, false); err != nil {
		return err
	}
	root.plan.chown = false // reopen does that last
	if err := root.apply(c.Journal); err != nil {
		return err
	}
	return c.sync()
}

// reopen sets the final owner and mode of the root directory, and records that the change is
// complete.
func (c *changer) reopen(steps []idmap.Step) error {
	root := c.state.Root
	for _, step := range steps {
		root.UID, _ = step.UID.To(root.UID)
		root.GID, _ = step.GID.To(root.GID)
	}
	if err := (&inode{file: c.view}).setRoot(root); err != nil {
		return err
	}
	return c.recordFinal()
}

func (c *changer) recordFinal() error {
	if err := c.RemoveAllFlags(); err != nil {
		return err
	}
	if s := c.finalState(); s != nil {
		return c.SetState(s)
	}
	return c.Finish()
}

// finalState returns the state after the change, nil after an unshift.
func (c *changer) finalState() *journal.State {
	if c.state.Phase == journal.Unshifting {
		return nil
	}
	return &journal.State{Phase: journal.Shifted, Change: idmap.Change{To: c.state.Change.To}}
}

func (c *changer) isFinalRecorded() bool {
	if c.state.Phase == journal.Unshifting {
		return c.before == nil && !c.HasState()
	}
	return c.before != nil && c.before.Change.To.Equal(c.state.Change.To)
}
