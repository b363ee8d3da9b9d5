// Package remap changes the root file system of a container with a user namespace for its maps
// before a runtime starts the container: as an OCI hook, or as a runtime wrapper.
//
// Reading order: remap (the root file system), config (the container's configuration), rootmount
// (where the root file system is mounted), volumemode and volumes (bind mounts), runtime, hook.
package remap

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"palisade/internal/linux/sys"
	"palisade/internal/oci"
	"palisade/internal/oci/idmap"
	"palisade/internal/userns/idmount"
	"palisade/internal/userns/ranges"
	"palisade/internal/userns/shift"
)

const (
	// Annotation is the key of the annotation that requests a user namespace, as uid:gid:offset, auto
	// or auto:size.
	Annotation = "palisade.user-remap"
	// CopyUpAnnotation is the key of the annotation that allows, with the value "true", to copy all
	// files of an overlay to its upper layer. It is for wrappers that get no options.
	CopyUpAnnotation = "palisade.allow-copyup"
	// DefaultRunDir is the default of Remapper.RunDir.
	DefaultRunDir = "/run/userns-shift-roots"
)

// Mode is the way to map the ids of a root file system.
type Mode = string

const (
	// Auto is IDMap if the kernel supports it, other users of the host cannot reach the root file
	// system, and it is not shifted yet; else Shift. A hook that runs after the container's mounts
	// were made uses Shift.
	Auto Mode = "auto"
	// Shift changes the owners on the disk.
	Shift Mode = "shift"
	// IDMap makes an idmapped mount of the root file system.
	IDMap Mode = "idmap"
	// Check changes nothing, and fails if the ids are not mapped already.
	Check Mode = "check"
)

// Modes lists all modes.
var Modes = []string{Auto, Shift, IDMap, Check}

// Remapper maps the ids of root file systems.
type Remapper struct {
	Mode Mode
	// Remap is the value of --user-remap for containers without the annotation, "" if there is none.
	Remap string
	// Volumes is for bind mounts of containers without an annotation.
	Volumes VolumeMode
	// Options are for shifts.
	Options shift.Options
	// RunDir is where root file systems and volumes are mounted, those of each container in a
	// directory named by its id.
	RunDir string
	// RangesConfig is the configuration file of the registry of ranges.
	RangesConfig string
	Log          *slog.Logger

	// request is the request for a range of the registry, nil if there is none.
	request *ranges.Request
}

// shiftRoot shifts a root file system to the pair, or checks that its ids are mapped already.
func (r *Remapper) shiftRoot(ctx context.Context, root string, pair idmap.Pair) error {
	o := r.Options
	o.Range = r.request
	return r.shiftOrCheck(ctx, root, pair, o)
}

// shiftOrCheck shifts the tree at path to the pair, or checks that its ids are mapped already.
func (r *Remapper) shiftOrCheck(
	ctx context.Context, path string, pair idmap.Pair, o shift.Options,
) error {
	if mapped, err := idmount.IsMapped(path); err != nil {
		return err
	} else if mapped {
		return r.checkMapped(ctx, path, pair)
	}
	if r.Mode == Check {
		return r.checkShifted(ctx, path, pair)
	}
	o.Trust = true
	return r.shift(ctx, path, pair, o)
}

// shift shifts the tree at path to the pair, and logs what it has done.
func (r *Remapper) shift(
	ctx context.Context, path string, pair idmap.Pair, o shift.Options,
) error {
	if deadline, ok := ctx.Deadline(); ok {
		o.LockTimeout = min(o.LockTimeout, time.Until(deadline))
	}
	result, err := shift.Shift(ctx, path, pair, o)
	if errors.Is(err, shift.ErrPartial) {
		// The command is not this one: runtimes cannot open a closed root file system for a hook.
		err = fmt.Errorf("%w: userns-shift shift %s %s", err, mapFlags(pair), path)
	}
	if err != nil {
		return err
	}
	for _, warning := range result.Warnings {
		r.Log.Warn(warning, "root", path)
	}
	if result.Changed > 0 && !o.DryRun {
		r.Log.Info("shifted", "root", path, "to", pair.String(), "files", result.Changed)
	}
	return nil
}

// checkMapped checks that an idmapped root file system has the ids of the pair, and that other
// users cannot reach the files that its container writes.
func (r *Remapper) checkMapped(ctx context.Context, root string, pair idmap.Pair) error {
	shifted, err := isShifted(root, pair)
	if err == nil && !shifted {
		err = fmt.Errorf("%s is on an idmapped mount with other maps than %s", root, pair)
	}
	if err != nil {
		return err
	}
	return idmount.CheckPrivate(root, r.checkLinks(ctx))
}

func (r *Remapper) checkLinks(ctx context.Context) idmount.LinkCheck {
	return func(root sys.File) error { return shift.CheckLinks(ctx, root, r.Options) }
}

func (r *Remapper) checkShifted(ctx context.Context, root string, pair idmap.Pair) error {
	s, err := shift.ReadStatus(ctx, root, pair, r.Options)
	switch {
	case err != nil:
		return err
	case s.Kind == shift.IsUnmarked, s.Kind == shift.IsShifted && s.State.Change.To.Equal(pair):
		return nil
	}
	return fmt.Errorf("%s is %s, not shifted to %s: userns-shift shift %s %s",
		root, s.Describe(), pair, mapFlags(pair), root)
}

// mapFlags returns the pair as options of userns-shift.
func mapFlags(pair idmap.Pair) string {
	if remap, ok := pair.Remap(); ok && remap.Offset <= idmap.MaxOffset {
		return "--user-remap " + remap.String()
	}
	text := ""
	for _, e := range pair.UID {
		text += " --uidmap " + e.String()
	}
	for _, e := range pair.GID {
		text += " --gidmap " + e.String()
	}
	return text[1:]
}

// wantsIDMap reports whether a root file system should get an idmapped mount, if that is possible.
func (r *Remapper) wantsIDMap(root string, pair idmap.Pair) (bool, error) {
	if r.Mode != IDMap && r.Mode != Auto {
		return false, nil
	}
	if mapped, err := idmount.IsMapped(root); err != nil || mapped {
		return false, err
	}
	err := CheckUnshifted(root, pair, r.Options)
	if errors.Is(err, errShifted) && r.Mode == Auto {
		return false, nil
	}
	return err == nil, err
}

var errShifted = errors.New("its ids cannot be mapped as well")

// CheckUnshifted fails with errShifted if the tree at root is shifted, to any maps by its record or
// to the pair by its owner.
func CheckUnshifted(root string, pair idmap.Pair, o shift.Options) error {
	state, err := shift.Recorded(root, o)
	if err != nil {
		return err
	}
	description := "shifted to " + pair.String() + " without a record"
	if state != nil {
		description = state.Describe()
	} else if shifted, err := isShifted(root, pair); err != nil || !shifted {
		return err
	}
	return fmt.Errorf("%s is %s: %w (userns-shift unshift %s)", root, description, errShifted, root)
}

// isShifted reports, by its owner, whether a root directory is seen with the host's ids.
func isShifted(root string, pair idmap.Pair) (bool, error) {
	dir, err := sys.OpenDirNoFollow(root)
	if err != nil {
		return false, err
	}
	defer dir.Close()
	i, err := dir.Statx()
	if err != nil {
		return false, err
	}
	change := idmap.Change{To: pair}
	_, kind := change.Total().UID.To(i.UID)
	return kind == idmap.Done, nil
}

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
