package shift

import (
	"context"
	"fmt"

	"palisade/internal/idmap"
	"palisade/internal/sys"
)

// CheckLinks looks at all files of the tree with the open root directory, and fails with Problems
// if some have names outside of it, unless o ignores that. What a container does to such a file with
// the host's ids, as to make it set-id root, it does by the names outside, too.
func CheckLinks(ctx context.Context, root sys.File, o Options) error {
	o.complete()
	if o.HardLinks == Ignore {
		return nil
	}
	root, err := root.OpenDirAt(".") // which is closed with the tree
	if err != nil {
		return err
	}
	t, err := newTree(root, o.StateDir)
	if err != nil {
		return err
	}
	defer t.close()
	if err := t.openView(); err != nil {
		return fmt.Errorf("%s: %w", t.path, err)
	}
	var outside examples
	for range 3 { // another container that runs in the tree may change names meanwhile
		c, err := t.inspect(ctx, o.rulesFor(&idmap.Change{}, nil), &o, nil, nil)
		if err != nil {
			return fmt.Errorf("%s: %w", t.path, err)
		}
		if outside = c.linkedOutside(); outside.count == 0 {
			return nil
		}
	}
	return Problems{{
		Text:   "files with names outside of the tree: in " + outside.list(),
		Remedy: "copy them, or --hardlinks=ignore to let the container change the files outside",
	}}
}
