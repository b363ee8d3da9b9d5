package shift

import (
	"context"
	"fmt"

	"palisade/internal/linux/sys"
	"palisade/internal/oci/idmap"
	"palisade/internal/userns/idmount"
	"palisade/internal/userns/journal"
	"palisade/internal/userns/layers"
	"palisade/internal/userns/ranges"
)

// ChooseMaps returns the maps of a range of Options.Range for the tree at path: the one to which
// the tree is shifted, if that is possible. The range of a tree that is not shifted is the
// container's, if the request is for one, else the tree's.
func ChooseMaps(ctx context.Context, path string, o Options) (idmap.Pair, error) {
	isMapped, err := idmount.IsMapped(path)
	if err != nil {
		return idmap.Pair{}, err
	}
	t, err := open(path, &o)
	if err != nil {
		return idmap.Pair{}, err
	}
	defer t.close()
	state, claim, err := t.State()
	if err != nil {
		return idmap.Pair{}, fmt.Errorf("%s: %w", t.path, err)
	}
	if o.Range.Container.ID == "" || state != nil || claim != nil || isMapped {
		return t.chooseRange(ctx, o.Range, state, claim)
	}
	e, err := o.Range.ForContainer(ctx)
	if err != nil {
		return idmap.Pair{}, err
	}
	return e.Pair(), nil
}

// chooseRange returns the maps of the tree's range.
func (t *tree) chooseRange(
	ctx context.Context, q *ranges.Request, state *journal.State, claim *journal.Claim,
) (idmap.Pair, error) {
	var recorded idmap.Pair
	switch {
	case state != nil:
		recorded = state.Pair()
	case claim != nil && claim.State != nil:
		recorded = claim.State.Pair() // a hint only: the range must be free
	}
	pair, err := t.rangeFor(ctx, q, recorded)
	if err != nil || state != nil || pair.Equal(recorded) {
		return pair, err
	}
	if _, isShifted := recorded.UID.ToContainer(t.inode.UID); isShifted {
		return pair, fmt.Errorf("it is a copy of a tree, or that of another host, with the ids of %s, "+
			"which is not free here: userns-shift unshift --uidmap %s --gidmap %s %s, and try again",
			recorded, recorded.UID, recorded.GID, t.path)
	}
	return pair, nil
}

// keepRange makes the tree the owner of the range to which it is shifted, also if that was the
// container's. It is called just before the first change: a container that cannot start, and is
// started again and again, must not leave a range each time.
func (c *changer) keepRange(ctx context.Context) error {
	if c.o.Range == nil {
		return nil
	}
	to := c.state.Change.To
	pair, err := c.rangeFor(ctx, c.o.Range, to)
	if err == nil && !pair.Equal(to) {
		err = fmt.Errorf("range %s is not free for %s", to, c.path)
	}
	return err
}

// checkRange fails unless the range of a tree that has a state is the tree's: if it is that of a
// container which is started, another start has shifted the tree meanwhile.
func (t *tree) checkRange(q *ranges.Request, pair idmap.Pair, state *journal.State) error {
	owner, err := t.rangeOwner()
	if err != nil {
		return err
	}
	if has, err := q.TreeHas(owner, pair); err != nil || has {
		return err
	}
	return fmt.Errorf("another container on the tree has been started just now (%s): try again",
		state.Describe())
}

// freeRange frees the range that the tree had before the change.
func (c *changer) freeRange(ctx context.Context) error {
	before := c.state.Change.From
	if c.o.Range == nil || before.IsZero() || before.Equal(c.state.Change.To) {
		return nil
	}
	owner, err := c.rangeOwner()
	if err != nil {
		return err
	}
	return c.o.Range.FreeTree(ctx, owner, before)
}

func (t *tree) rangeFor(
	ctx context.Context, q *ranges.Request, recorded idmap.Pair,
) (idmap.Pair, error) {
	owner, err := t.rangeOwner()
	if err != nil {
		return idmap.Pair{}, err
	}
	e, err := q.ForTree(ctx, owner, recorded)
	if err != nil {
		return idmap.Pair{}, err
	}
	return e.Pair(), nil
}

// rangeOwner returns the directory that keeps the files of the tree: of an overlay, whose mount
// lasts no longer than a container, the upper layer.
func (t *tree) rangeOwner() (ranges.Tree, error) {
	if t.fsType != sys.OverlayMagic {
		return ranges.TreeAt(t.root, t.path)
	}
	overlay, err := layers.FindAt(t.root)
	if err != nil {
		return ranges.Tree{}, err
	}
	if overlay == nil || overlay.Upper == "" {
		return ranges.TreeAt(t.root, t.path)
	}
	dir, err := sys.OpenDir(overlay.Upper)
	if err != nil {
		return ranges.Tree{}, err
	}
	defer dir.Close()
	return ranges.TreeAt(dir, overlay.Upper)
}
