package remap

import (
	"errors"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"palisade/internal/linux/sys"
	"palisade/internal/oci"
	"palisade/internal/oci/idmap"
	"palisade/internal/userns/shift"
)

// MissingMountPoints returns a problem if the root file system of a bundle lacks mount points. The
// runtime creates them as the container's root, who must not write to a root file system that is
// not shifted yet; a hook that shifts it runs later.
func MissingMountPoints(
	bundle, root string, pair idmap.Pair, o shift.Options,
) (shift.Problems, error) {
	c, err := oci.ReadConfig(filepath.Join(bundle, oci.ConfigFile))
	if err != nil {
		return nil, err
	}
	state, err := shift.Recorded(root, o)
	if err != nil || state != nil && !state.Partial() && state.Change.To.Equal(pair) {
		return nil, err
	}
	dir, err := sys.OpenDirNoFollow(root)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	var missing, covered []string
	for _, m := range c.Spec.Mounts {
		point := path.Clean("/" + m.Destination)
		isAbove := func(other string) bool { return strings.HasPrefix(point, other+"/") }
		if slices.ContainsFunc(covered, isAbove) {
			continue // in another mount, not in the root file system
		}
		covered = append(covered, point)
		if has, err := hasFile(dir, point); err != nil {
			return nil, err
		} else if !has {
			missing = append(missing, point)
		}
	}
	if len(missing) == 0 {
		return nil, nil
	}
	return shift.Problems{{
		Text: "mount points that are missing: " + strings.Join(missing, ", "),
		Remedy: "create them, or shift the root file system before you start the runtime: " +
			"a hook runs too late",
	}}, nil
}

// hasFile reports whether a root file system has a file at a path, resolved as in its container.
func hasFile(root sys.File, point string) (bool, error) {
	parent, err := root.OpenDirInRoot(strings.TrimPrefix(path.Dir(point), "/") + "/.")
	if err == nil {
		defer parent.Close()
		_, err = parent.StatAt(path.Base(point))
	}
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
