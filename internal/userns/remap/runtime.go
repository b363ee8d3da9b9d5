package remap

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"palisade/internal/idmap"
	"palisade/internal/oci"
	"palisade/internal/shim"
)

// Prepare does what is to be done before a runtime gets to run a command: a container that is to be created or run, and that asks
// for a user remap, gets its user namespace and a root file system that fits; where one is deleted, what was mounted for it is
// taken away. poststop is a hook that calls PostStop.
func (r *Remapper) Prepare(ctx context.Context, command shim.Command, poststop specs.Hook) error {
	if command.Name == "delete" && oci.CheckID(command.ID) == nil {
		return r.Unmount(command.ID)
	}
	if !command.Starts() {
		return nil
	}
	file := command.ConfigFile()
	c, err := oci.ReadConfig(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil // the runtime will say so
	}
	if err != nil {
		return err
	}
	if c.Spec.Annotations[Annotation] == "" && r.Remap == "" {
		return nil
	}
	r.obey(c)
	pair, err := r.wanted(c)
	if err != nil || pair.IsZero() {
		return err
	}
	if err := oci.CheckID(command.ID); err != nil {
		return err
	}
	return r.prepareBundle(ctx, command, c, pair, poststop)
}

func (r *Remapper) prepareBundle(ctx context.Context, command shim.Command, c *oci.Config, pair idmap.Pair, poststop specs.Hook) error {
	bundle, err := filepath.Abs(command.Bundle())
	if err != nil {
		return err
	}
	root := c.RootPath(bundle)
	if root == "" {
		return errors.New("the container has no root file system of its own")
	}
	isUsed := strings.HasPrefix(root, r.RunDir+"/") // it was the bundle of a container before
	if isUsed {
		if root, err = originalRoot(command.ConfigFile(), bundle); err != nil {
			return err
		}
	}
	if err := r.adapt(c, pair); err != nil {
		return err
	}
	place, err := r.mount(ctx, command.ID, root, pair)
	if err != nil {
		return err
	}
	err = c.SetRoot(place)
	if err == nil {
		err = c.AddPoststop(poststop)
	}
	if err == nil {
		err = c.Replace(command.ConfigFile(), !isUsed)
	}
	if err != nil {
		return errors.Join(err, r.Unmount(command.ID))
	}
	return nil
}

// originalRoot is the root file system that the configuration had at first.
func originalRoot(file, bundle string) (string, error) {
	c, err := oci.ReadConfig(oci.Original(file))
	if err != nil {
		return "", fmt.Errorf("the configuration is that of another container, whose original is not to be had: %w", err)
	}
	return c.RootPath(bundle), nil
}

// PostStop takes away what was mounted for the container that a poststop hook's state on stdin tells of.
func (r *Remapper) PostStop(state oci.State) error {
	if err := r.Unmount(state.ID); err != nil {
		return fmt.Errorf("container %s: %w", state.ID, err)
	}
	return nil
}
