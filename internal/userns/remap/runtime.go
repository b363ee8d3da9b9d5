package remap

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/opencontainers/runtime-spec/specs-go"

	"palisade/internal/oci"
	"palisade/internal/oci/idmap"
	"palisade/internal/oci/wrapper"
)

// Prepare is called before a runtime executes a command. A container that is created or run, and
// that requests a user remap, gets its user namespace, and a root file system and volumes with
// mapped ids; those of one that is deleted are unmounted. poststop is a hook of the stage PostStop.
func (r *Remapper) Prepare(
	ctx context.Context, command wrapper.Command, poststop specs.Hook,
) error {
	if command.Name == "delete" && oci.CheckID(command.ID) == nil {
		return r.Release(ctx, command.ID, "")
	}
	if !command.Starts() {
		return nil
	}
	c, err := oci.ReadConfig(command.ConfigFile())
	if errors.Is(err, os.ErrNotExist) {
		return nil // the runtime reports it
	}
	if err != nil {
		return err
	}
	if c.Spec.Annotations[Annotation] == "" && r.Remap == "" {
		return nil
	}
	r.readCopyUp(c)
	bundle, err := filepath.Abs(command.Bundle())
	if err != nil {
		return err
	}
	pair, err := r.requestedMaps(c, func(size uint32, own idmap.Pair) (idmap.Pair, error) {
		root, original, err := r.findRoot(command, c, bundle)
		if err == nil {
			err = oci.CheckID(command.ID)
		}
		if err != nil || !own.IsZero() && original == nil {
			return own, err
		}
		return r.allocate(ctx, size, newContainer(command.ID, bundle), root)
	})
	if err == nil && !pair.IsZero() {
		if err = oci.CheckID(command.ID); err == nil {
			err = r.prepareBundle(ctx, command, c, pair, bundle, poststop)
		}
	}
	if err != nil && r.request != nil {
		return errors.Join(err, r.Release(ctx, command.ID, bundle))
	}
	return err
}

// findRoot returns the root file system of a container. If the configuration is that of another
// container, which has used the bundle, it also returns the original one.
func (r *Remapper) findRoot(
	command wrapper.Command, c *oci.Config, bundle string,
) (root string, original *oci.Config, err error) {
	root = c.RootPath(bundle)
	if root == "" {
		return "", nil, errors.New("the container has no root file system of its own")
	}
	if !r.isMounted(root) {
		return root, nil, nil
	}
	original, err = oci.ReadConfig(oci.Original(command.ConfigFile()))
	if err != nil {
		return "", nil, fmt.Errorf("the configuration is that of another container, "+
			"and its original cannot be read: %w", err)
	}
	return original.RootPath(bundle), original, nil
}

func (r *Remapper) prepareBundle(
	ctx context.Context, command wrapper.Command, c *oci.Config, pair idmap.Pair, bundle string,
	poststop specs.Hook,
) error {
	root, original, err := r.findRoot(command, c, bundle)
	if err == nil && original != nil {
		err = r.restoreSources(c, original)
	}
	if err != nil {
		return err
	}
	if err := r.adapt(c, pair); err != nil {
		return err
	}
	m := &mounts{r: r, config: c, pair: pair, root: root}
	defer m.close()
	if err := m.open(ctx, bundle, command.ID); err != nil {
		return err
	}
	r.removeStale()
	if err := r.Unmount(command.ID); err != nil {
		return err
	}
	err = errors.Join(m.mount(ctx, command.ID), c.AddPoststop(poststop))
	if err == nil {
		err = c.Replace(command.ConfigFile(), original == nil)
	}
	if err != nil {
		return errors.Join(err, r.Unmount(command.ID))
	}
	return nil
}
