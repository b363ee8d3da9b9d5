package shift

import (
	"context"
	"fmt"

	"palisade/internal/linux/sys"
	"palisade/internal/oci/idmap"
	"palisade/internal/userns/idmount"
	"palisade/internal/userns/journal"
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
		return t.chooseRange(ctx, o.Range, idmap.Pair{}, state, claim)
	}
	e, err := o.Range.ForContainer(ctx)
	if err != nil {
		return idmap.Pair{}, err
	}
	return e.Pair(), nil
}

// chooseRange returns the maps of the tree's range. wanted are those that it must have, if they are
// not zero.
func (t *tree) chooseRange(
	ctx context.Context, q *ranges.Request, wanted idmap.Pair, state *journal.State,
	claim *journal.Claim,
) (idmap.Pair, error) {
	recorded := wanted
	switch {
	case !wanted.IsZero():
	case state != nil:
		recorded = state.Pair()
	case claim != nil && claim.State != nil:
		recorded = claim.State.Pair() // a hint only: the range must be free
	}
	owner, err := t.rangeOwner()
	if err != nil {
		return idmap.Pair{}, err
	}
	e, err := q.ForTree(ctx, owner, recorded)
	if err != nil {
		return idmap.Pair{}, err
	}
	if pair := e.Pair(); wanted.IsZero() || wanted.Equal(pair) {
		return pair, nil
	}
	return idmap.Pair{}, fmt.Errorf("range %s is not free for %s", wanted, t.path)
}

// rangeOwner returns the directory that keeps the files of the tree: of an overlay, whose mount
// lasts no longer than a container, the upper layer.
func (t *tree) rangeOwner() (ranges.Tree, error) {
	if t.fsType != sys.OverlayMagic {
		return ranges.TreeAt(t.root, t.path)
	}
	upper, err := idmount.UpperDir(t.root, t.path)
	if err != nil {
		return ranges.Tree{}, err
	}
	if upper == "" {
		return ranges.TreeAt(t.root, t.path)
	}
	dir, err := sys.OpenDir(upper)
	if err != nil {
		return ranges.Tree{}, err
	}
	defer dir.Close()
	return ranges.TreeAt(dir, upper)
}
