package shift

import (
	"context"
	"errors"
	"fmt"

	"palisade/internal/idmap"
	"palisade/internal/sys"
)

// closedMode is that of a root directory while its files are being changed: neither the host's users nor a container can get
// into a tree in which programs with a set-id bit may belong to the wrong user.
const closedMode = 0o700

// carryOutAll changes the tree. When it fails, the tree stays closed, and the recorded state tells how far it is.
func (c *changer) carryOutAll(ctx context.Context) error {
	steps, err := c.state.Change.Steps()
	if err != nil {
		return err
	}
	problems, err := c.checkOccupants()
	if err != nil {
		return err
	}
	if len(problems) > 0 {
		return problems // nothing was changed
	}
	if err := c.begin(); err != nil {
		return err
	}
	// A process may have entered before the root directory was closed.
	if problems, err = c.checkOccupants(); err == nil && len(problems) > 0 {
		err = errors.New(problems[0].Text)
	}
	if err != nil {
		return c.howToGoOn(err)
	}
	for c.state.Step < len(steps) {
		if err := c.carryOutStep(ctx, steps[c.state.Step]); err != nil {
			return c.howToGoOn(err)
		}
		if c.state.Step++; c.state.Step < len(steps) {
			if err := c.record(c.state); err != nil {
				return c.howToGoOn(err)
			}
		}
	}
	if err := c.reopen(steps); err != nil {
		return c.howToGoOn(err)
	}
	return nil
}

// ErrPartial is the error for a tree that is neither what it was nor what it is to be. It is closed until that is made good.
var ErrPartial = errors.New("the tree is closed (mode 0700) until the same command is given again, which goes on from here")

func (c *changer) howToGoOn(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		err = errInterrupted
	}
	return fmt.Errorf("%w; %w", err, ErrPartial)
}

// begin records what is going to be done, and closes the tree.
func (c *changer) begin() error {
	if !c.before.Partial() || c.before.Phase != c.state.Phase {
		if err := c.record(c.state); err != nil {
			return err
		}
	}
	var root inode
	if err := openInode(&root, &file{open: c.view}); err != nil {
		return err
	}
	if root.Mode&sys.SetModeBits != closedMode {
		if err := root.chmod(closedMode); err != nil {
			return err
		}
	}
	if root.UID != 0 || root.GID != 0 {
		if err := root.chown(0, 0); err != nil {
			return err
		}
	}
	return c.sync()
}

// carryOutStep changes all files but the root directory's owner and mode.
func (c *changer) carryOutStep(ctx context.Context, step idmap.Step) error {
	pass := "shift"
	if c.state.Phase == Unshifting {
		pass = "unshift"
	}
	rules := c.rules(step)
	count := newCounter(c.o.Jobs, pass, c.census.files, c.o.Progress)
	visitors, links := make([]visitor, c.o.Jobs), new(linkLocks)
	for i := range visitors {
		visitors[i] = c.newMover(rules, links, count)
	}
	err := c.walkTree(ctx, visitors)
	c.memos = nil // the owners are others now
	count.end()
	if err != nil {
		return err
	}
	root := inode{file: c.view}
	if err := root.buildPlan(c.journal, rules); err != nil {
		return err
	}
	root.plan.chown = false // that is the last thing
	if err := root.apply(c.journal); err != nil {
		return err
	}
	return c.sync()
}

func (c *changer) newMover(rules *rules, links *linkLocks, count *counter) *mover {
	return &mover{tree: c.tree, o: c.o, rules: rules, known: c.census.links,
		found: c.census.inodes.reader(), copied: &c.copied, links: links, memos: c.memos, began: c.began,
		progress: count, refusePrivileged: c.refusePrivileged}
}

// sync makes sure that a crash of the machine leaves nothing that comes later without what came before.
func (c *changer) sync() error {
	if c.keepsOrder() {
		return nil
	}
	list, err := c.view.OpenSame()
	if err != nil {
		return err
	}
	defer list.Close()
	return list.SyncFS()
}

// reopen gives the root directory its owner and mode, and records that all is done.
func (c *changer) reopen(steps []idmap.Step) error {
	root := c.state.Root
	for _, step := range steps {
		root.UID, _ = step.UID.To(root.UID)
		root.GID, _ = step.GID.To(root.GID)
	}
	dir := inode{file: c.view}
	if err := dir.chown(root.UID, root.GID); err != nil {
		return err
	}
	if err := dir.chmod(root.Mode); err != nil {
		return err
	}
	return c.finishState()
}
