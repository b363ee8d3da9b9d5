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
		return r.Unmount(command.ID)
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
	pair, err := r.requestedMaps(c)
	if err != nil || pair.IsZero() {
		return err
	}
	if err := oci.CheckID(command.ID); err != nil {
		return err
	}
	return r.prepareBundle(ctx, command, c, pair, poststop)
}

func (r *Remapper) prepareBundle(
	ctx context.Context, command wrapper.Command, c *oci.Config, pair idmap.Pair, poststop specs.Hook,
) error {
	bundle, err := filepath.Abs(command.Bundle())
	if err != nil {
		return err
	}
	root := c.RootPath(bundle)
	if root == "" {
		return errors.New("the container has no root file system of its own")
	}
	isReused := r.isMounted(root) // another container has used the bundle
	if isReused {
		original, err := oci.ReadConfig(oci.Original(command.ConfigFile()))
		if err == nil {
			root = original.RootPath(bundle)
			err = r.restoreSources(c, original)
		}
		if err != nil {
			return fmt.Errorf("the configuration is that of another container, "+
				"and its original cannot be read: %w", err)
		}
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
		err = c.Replace(command.ConfigFile(), !isReused)
	}
	if err != nil {
		return errors.Join(err, r.Unmount(command.ID))
	}
	return nil
}
