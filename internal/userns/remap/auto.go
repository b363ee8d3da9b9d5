package remap

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"

	"palisade/internal/oci"
	"palisade/internal/oci/idmap"
	"palisade/internal/userns/ranges"
	"palisade/internal/userns/shift"
)

// allocate returns the maps of a range of the registry for the root file system at root: of the
// container, or of the tree if that is shifted, or there is no container yet.
func (r *Remapper) allocate(
	ctx context.Context, size uint32, container ranges.Container, root string,
) (idmap.Pair, error) {
	registry, err := r.registry()
	if err != nil {
		return idmap.Pair{}, err
	}
	r.request = &ranges.Request{Registry: registry, Size: size, Container: container,
		DryRun: r.Mode == Check}
	o := r.Options
	o.Range = r.request
	pair, err := shift.ChooseMaps(ctx, root, o)
	if err != nil {
		err = fmt.Errorf("user remap auto: %w", err)
	}
	return pair, err
}

func (r *Remapper) registry() (*ranges.Registry, error) {
	return ranges.Open(ranges.Dirs{State: cmp.Or(r.Options.StateDir, shift.DefaultStateDir),
		Lock: cmp.Or(r.Options.LockDir, shift.DefaultLockDir), Config: r.RangesConfig})
}

// newContainer returns the identity of a container. Runtimes may resolve the path of a bundle.
func newContainer(id, bundle string) ranges.Container {
	if bundle != "" { // unknown
		if resolved, err := filepath.EvalSymlinks(bundle); err == nil {
			bundle = resolved
		}
	}
	return ranges.Container{ID: id, Bundle: bundle}
}

// Release unmounts the root file system of a container that has ended, and frees its range. bundle
// is "" if it is unknown.
func (r *Remapper) Release(ctx context.Context, id, bundle string) error {
	if err := r.Unmount(id); err != nil {
		return err
	}
	registry, err := r.registry()
	if err == nil {
		err = registry.Release(ctx, newContainer(id, bundle))
	}
	if err != nil {
		err = fmt.Errorf("free the range: %w", err)
	}
	return err
}

// isAuto reports whether the annotation of a configuration requests a range of the registry.
func isAuto(c *oci.Config) bool {
	wanted, _ := ranges.ParseRemap(c.Spec.Annotations[Annotation])
	return wanted.IsAuto
}

// keepOwn is for requestedMaps of a container that has its namespaces already: the runtime has
// decided about its maps.
func keepOwn(_ uint32, own idmap.Pair) (idmap.Pair, error) { return own, nil }
