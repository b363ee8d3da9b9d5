package remap

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"palisade/internal/linux/sys"
	"palisade/internal/oci"
	"palisade/internal/oci/idmap"
)

func (r *Remapper) mountPoint(id string) string { return filepath.Join(r.RunDir, id, "rootfs") }

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

// Unmount unmounts the root file system and the volumes of a container and removes their mount
// points, if there are any. A running container keeps its mounts.
func (r *Remapper) Unmount(id string) error {
	if err := oci.CheckID(id); err != nil {
		return err
	}
	dir := filepath.Join(r.RunDir, id)
	points, err := os.ReadDir(dir)
	for _, entry := range points {
		point := filepath.Join(dir, entry.Name())
		var err error
		for err == nil {
			err = sys.Unmount(point, sys.UnmountDetach)
		}
		if !sys.IsNotMounted(err) {
			return err
		}
		if err := os.Remove(point); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	if err == nil {
		err = os.Remove(dir)
	}
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}
