package shift

import (
	"context"
	"fmt"

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
		c, err := t.countLinks(ctx, &o)
		if err != nil {
			return fmt.Errorf("%s: %w", t.path, err)
		}
		if outside = c.linkedOutside(); outside.count == 0 {
			return nil
		}
	}
	return Problems{{
		Text:   "files with names outside of the tree: " + outside.list(),
		Remedy: "copy them, or --hardlinks=ignore to let the container change the files outside",
	}}
}

// countLinks takes a census of the links alone, by half of the system calls.
func (t *tree) countLinks(ctx context.Context, o *Options) (*census, error) {
	visitors, parts := make([]visitor, o.Jobs), make([]*census, o.Jobs)
	for i := range visitors {
		parts[i] = newCensus()
		visitors[i] = &linkCounter{parts[i]}
	}
	if err := t.walkTree(ctx, visitors); err != nil {
		return nil, err
	}
	for _, part := range parts[1:] {
		parts[0].merge(part)
	}
	return parts[0], nil
}

// linkCounter is the visitor that counts links, of one worker.
type linkCounter struct{ *census }

func (v *linkCounter) enter(w *worker, d *dir) error {
	err := d.file.InodeAt(noName, &w.inode)
	d.key = keyOf(&w.inode)
	return err
}

func (v *linkCounter) visit(w *worker, d *dir, name sys.Name, code uint16) (isDir bool) {
	i := &w.inode
	if code == dirCode {
		return true
	}
	if err := d.file.InodeAt(name, i); err != nil {
		w.fail(d, name.String(), err)
		return false
	}
	if i.IsDir() {
		return true
	}
	if i.Links > 1 {
		v.addLink(i, d, name, false)
	}
	return false
}

func (v *linkCounter) visited(*chunk) {}
