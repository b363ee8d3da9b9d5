package remap

import (
	"context"
	"fmt"

	"palisade/internal/oci/idmap"
	"palisade/internal/userns/layers"
	"palisade/internal/userns/shift"
)

// findLayers returns the overlay at root if its layers are to get mapped ids, else nil: then root is
// not an overlay, or all its files were copied up and shifted at an earlier start.
func (r *Remapper) findLayers(root string, pair idmap.Pair) (*layers.Overlay, error) {
	if r.Mode != IDMap && r.Mode != Auto {
		return nil, nil
	}
	o, err := layers.Find(root)
	if err != nil || o == nil || o.Unsupported() != nil {
		return o, err
	}
	// A shift of the overlay has its record on the same inode as a shift of the upper layer. Its seal
	// shows which of the two it is.
	state, err := shift.Recorded(o.Upper, r.Options)
	if state != nil {
		return o, nil
	}
	if state, mergedErr := shift.Recorded(root, r.Options); mergedErr == nil && state != nil {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if shifted, err := isShifted(root, pair); err != nil || shifted {
		return nil, err
	}
	return o, nil
}

// replaceOverlay mounts the overlay of the root file system again, with mapped ids.
func (m *mounts) replaceOverlay(ctx context.Context, scratch string) error {
	ns, err := m.namespaces.Get(m.pair)
	if err != nil {
		return err
	}
	err = m.overlay.Replace(ctx, ns, scratch, func() error {
		// All files are checked, since programs of the engine may have added some.
		o := m.r.Options
		o.Range = m.r.request
		return m.r.shift(ctx, m.overlay.Upper, m.pair, o)
	})
	if err != nil {
		return fmt.Errorf("map the layers of %s: %w", m.root, err)
	}
	return nil
}
