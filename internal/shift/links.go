package shift

import (
	"context"
	"fmt"

	"palisade/internal/idmap"
)

// CheckLinks fails with Problems if files of the tree at path have hard links outside it, unless
// o.HardLinks is Ignore. On an idmapped mount, a change that the container makes to such a file,
// such as a set-id-root bit, is also seen through the names outside.
func CheckLinks(ctx context.Context, path string, o Options) error {
	o.complete()
	if o.HardLinks == Ignore {
		return nil
	}
	t, err := open(path, o.StateDir)
	if err != nil {
		return err
	}
	defer t.close()
	if err := t.openView(); err != nil {
		return fmt.Errorf("%s: %w", t.path, err)
	}
	var outside examples
	for range 3 { // a container that runs in the tree may add or remove links during the scan
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
