package shift

import (
	"context"
	"fmt"
	"slices"

	"palisade/internal/linux/sys"
	"palisade/internal/userns/walk"
)

// CheckLinks fails with Problems if files of the tree with the open root directory have names
// outside it, unless o ignores that. A container with an idmapped root file system can change such
// a file with the host's ids, and for instance make it set-id root, under its outside names as
// well.
func CheckLinks(ctx context.Context, root sys.File, o Options) error {
	o.setDefaults()
	if o.HardLinks == Ignore {
		return nil
	}
	root, err := root.OpenDirAt(".") // closed with the tree
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
		s := newScan()
		visitor := &linkScanner{s}
		if err := t.walk(ctx, slices.Repeat([]walk.Visitor{visitor}, o.Jobs)); err != nil {
			return fmt.Errorf("%s: %w", t.path, err)
		}
		if outside = s.linkedOutside(); outside.Count == 0 {
			return nil
		}
	}
	return Problems{{
		Text:   "files with names outside the tree: " + outside.list(),
		Remedy: "copy them, or --hardlinks=ignore to let the container change the files outside",
	}}
}

// linkScanner is a visitor that counts links, with half of the system calls of a scanner.
type linkScanner struct{ *scan }

func (v *linkScanner) Enter(d *walk.Dir) error {
	i, err := d.File.Statx()
	d.Key = walk.KeyOf(&i)
	return err
}

func (v *linkScanner) Visit(
	_ *sys.Thread, d *walk.Dir, name sys.Name, isDir bool,
) (bool, error) {
	if isDir {
		return true, nil
	}
	var i sys.Inode
	if err := d.File.StatxAt(name, &i); err != nil {
		return false, err
	}
	if i.Links > 1 && !i.IsDir() && !i.IsWhiteout() {
		v.mu.Lock()
		defer v.mu.Unlock()
		v.addLink(&i, d, name, false)
	}
	return i.IsDir(), nil
}
