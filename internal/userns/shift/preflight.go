package shift

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"

	"palisade/internal/linux/sys"
	"palisade/internal/oci/idmap"
	"palisade/internal/userns/idmount"
	"palisade/internal/userns/journal"
)

// closedMode is the mode of the root directory during the change: neither the host's users nor a
// container can enter a tree in which set-id programs may belong to the wrong user.
const closedMode = 0o700

// changer changes a tree from the state before, as recorded, to the state that is the goal.
type changer struct {
	*tree
	o             *Options
	before, state *journal.State
	scan          *scan
	// copied holds the new inodes of files that an overlay has copied up during the change.
	copied sync.Map
	// refusePrivileged reports that the change must not produce privileged programs.
	refusePrivileged bool
}

func (c *changer) rules(s idmap.Step) *rules {
	return &rules{Step: s, caps: c.o.Caps, dropSetID: c.o.DropSetID, run: c.state.Run}
}

// preflight scans the tree, completes c.state, and fails with Problems if there are any.
func (c *changer) preflight(ctx context.Context) (err error) {
	isNew := !c.before.Partial()
	change := &c.state.Change
	if isNew {
		if c.o.Unmapped == Squash {
			change.Squash = &c.o.SquashTo
			if _, err := change.Steps(); err != nil {
				return err
			}
		}
		c.state.Root = journal.RootDir{
			Mode: c.inode.Mode & sys.ChmodMask, UID: c.inode.UID, GID: c.inode.GID}
		c.state.Run = rand.Uint64() | 1
	}
	if change.Squash != nil {
		c.o.Unmapped = Squash // also if an interrupted change is resumed without the option
	}
	rules := c.rules(change.Total())
	if c.state.Step > 0 {
		steps, err := change.Steps()
		if err != nil {
			return err
		}
		rules.previous, rules.next = &steps[c.state.Step-1], &steps[c.state.Step]
	}
	if c.scan, err = c.tree.scan(ctx, rules, c.o, c.before); err != nil {
		return err
	}
	if isNew {
		if change.Park, err = change.FindPark(&c.scan.ids); err != nil {
			return err
		}
	}
	if _, err := change.Steps(); err != nil {
		return err
	}
	problems := c.scan.problems(c.o, change.To)
	exposed, err := c.checkPrivileged()
	if err != nil {
		return err
	}
	problems = append(problems, exposed...)
	if isNew && c.looksInterrupted() {
		problems.add("restore missing set-id bits and capabilities, and the mode of "+c.path+
			" with chmod", "%s looks like a shift that was interrupted, but has no record: "+
			"its mode is 0700, and some of its files are shifted", c.path)
	}
	return refuse(problems, nil)
}

// checkPrivileged returns a problem if an unshift would make programs of the container privileged
// programs of the host that other users can reach. It sets refusePrivileged.
func (c *changer) checkPrivileged() (Problems, error) {
	if c.state.Phase != journal.Unshifting || c.o.DropSetID || c.o.KeepSetID {
		return nil, nil
	}
	// The scan does not show what an interrupted unshift has already changed.
	isResumed := c.before.Partial() && c.before.Phase == journal.Unshifting
	programs := c.scan.privileged.list()
	if isResumed {
		programs = strings.TrimPrefix(programs+", and those that are changed already", ", ")
	}
	exposed, err := c.checkPrivate("--drop-setid or --keep-setid",
		"programs with a set-id bit or capabilities would become the host's: "+programs)
	c.refusePrivileged = len(exposed) > 0
	if err != nil || c.scan.privileged.Count == 0 && !isResumed {
		return nil, err
	}
	return exposed, nil
}

// checkHostCaps returns a problem if other users of the host could use capabilities of CapsV2.
func (t *tree) checkHostCaps() (Problems, error) {
	return t.checkPrivate("--caps v3", "--caps v2 would make capabilities valid on the host")
}

// checkPrivate returns a problem if other users of the host can reach the tree. danger is the
// consequence, and otherwise an option that avoids it.
func (t *tree) checkPrivate(otherwise, danger string) (p Problems, err error) {
	err = idmount.CheckPrivate(t.path, idmount.IgnoreLinks)
	reachable, ok := errors.AsType[*idmount.ReachableError](err)
	if !ok {
		return nil, err
	}
	p.add(reachable.Remedy+", or "+otherwise,
		"other users can reach %s; %s", reachable.Path, danger)
	return p, nil
}

// looksInterrupted reports whether a tree without a record has a closed root directory and shifted
// files, as after an interrupted shift whose record was lost.
func (c *changer) looksInterrupted() bool {
	shifted := c.scan.below.after
	if c.state.Phase == journal.Unshifting {
		shifted = c.scan.below.before
	}
	return c.before == nil && shifted > 0 && c.state.Root == journal.RootDir{Mode: closedMode}
}

// warnings describes what the change will not or cannot keep.
func (c *changer) warnings() (texts []string) {
	warn := func(x *examples, format string) {
		if x.Count > 0 {
			texts = append(texts, fmt.Sprintf(format, x.list()))
		}
	}
	if c.o.Unmapped == Keep {
		warn(&c.scan.unmapped[0].examples, "uids that are not mapped are kept: %s")
		warn(&c.scan.unmapped[1].examples, "gids that are not mapped are kept: %s")
	}
	if c.o.Immutable == Skip {
		warn(&c.scan.flagged, "immutable and append-only files are left unchanged: %s")
	}
	if c.state.Phase == journal.Unshifting && !c.o.DropSetID {
		warn(&c.scan.privileged, "programs with a set-id bit or capabilities become the host's "+
			"(--drop-setid removes both): %s")
	}
	warn(&c.scan.untrusted, "records of files that this run did not write are not trusted; "+
		"if they are of an earlier run, set-id bits and capabilities may be missing: %s")
	if len(c.skip) > 0 {
		texts = append(texts, fmt.Sprintf("mounts in the tree (%d) are skipped, "+
			"and the files that they hide are left unchanged", len(c.skip)))
	}
	return texts
}
