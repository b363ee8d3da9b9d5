package remap

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"palisade/internal/linux/sys"
	"palisade/internal/oci"
	"palisade/internal/oci/idmap"
	"palisade/internal/userns/idmount"
	"palisade/internal/userns/layers"
)

func (r *Remapper) mountPoint(id string) string { return filepath.Join(r.RunDir, id, "rootfs") }

// mount maps the ids of a root file system, by an idmapped mount or a shift, and mounts it at a
// mount point that the container's root can reach whatever is above root. It returns the mount
// point.
func (r *Remapper) mount(ctx context.Context, id, root string, pair idmap.Pair) (string, error) {
	r.removeStale()
	if err := r.Unmount(id); err != nil {
		return "", err
	}
	overlay, err := r.findLayers(root, pair)
	if err != nil {
		return "", err
	}
	wantsIDMap := overlay != nil
	if !wantsIDMap {
		if wantsIDMap, err = r.wantsIDMap(root, pair); err != nil {
			return "", err
		}
	}
	point, err := r.createMountPoint(id, pair)
	if err != nil {
		return "", err
	}
	if err := r.mountAt(ctx, point, root, overlay, pair, wantsIDMap); err != nil {
		return "", errors.Join(err, r.Unmount(id))
	}
	return point, nil
}

func (r *Remapper) mountAt(
	ctx context.Context, point, root string, overlay *layers.Overlay, pair idmap.Pair,
	wantsIDMap bool,
) error {
	var mountErr error
	if wantsIDMap {
		mountErr = r.mapRoot(ctx, point, root, overlay, pair)
		if r.Mode == IDMap || !idmount.CanShift(mountErr) {
			return mountErr
		}
	}
	if err := r.shiftRoot(ctx, root, pair); err != nil {
		if reachable, ok := errors.AsType[*idmount.ReachableError](mountErr); ok {
			err = fmt.Errorf("%w; to use an idmapped mount instead: %s", err, reachable.Remedy)
		} else if overlay != nil {
			err = fmt.Errorf("%w; %w", err, mountErr)
		}
		return err
	}
	return idmount.Bind(root, point)
}

// createMountPoint creates the mount point of a container. Besides the host's root only the
// container's can search the directory above it.
func (r *Remapper) createMountPoint(id string, pair idmap.Pair) (string, error) {
	_, gid, ok := pair.Root()
	if !ok {
		return "", fmt.Errorf("map %s has no root", pair)
	}
	point := r.mountPoint(id)
	dir := filepath.Dir(point)
	if err := os.MkdirAll(r.RunDir, 0o711); err != nil {
		return "", err
	}
	if err := os.MkdirAll(point, 0o700); err != nil {
		return "", err
	}
	// Modes do not depend on the umask.
	return point, errors.Join(os.Chmod(r.RunDir, 0o711), os.Chown(dir, 0, int(gid)),
		os.Chmod(dir, 0o710))
}

// staleAge is the age after which a mount is unused: a runtime needs it only until it has created
// the container, whose mount namespace has a copy.
const staleAge = time.Hour

// removeStale unmounts what runtimes have left, as crun does if a container fails to start.
// Failures are retried the next time.
func (r *Remapper) removeStale() {
	entries, err := os.ReadDir(r.RunDir)
	if err != nil {
		return // there is none yet
	}
	for _, e := range entries {
		if info, err := e.Info(); err != nil || time.Since(info.ModTime()) < staleAge {
			continue
		}
		if err := r.Unmount(e.Name()); err != nil {
			r.Log.Warn("an old mount is left", "container", e.Name(), "err", err)
		}
	}
}

// Unmount unmounts the root file system of a container and removes its mount point, if there is
// one. A running container keeps its root file system.
func (r *Remapper) Unmount(id string) error {
	if err := oci.CheckID(id); err != nil {
		return err
	}
	point := r.mountPoint(id)
	var err error
	for err == nil {
		err = sys.Unmount(point, sys.UnmountDetach)
	}
	if !sys.IsNotMounted(err) {
		return err
	}
	for _, dir := range []string{point, filepath.Dir(point)} {
		if err := os.Remove(dir); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}
