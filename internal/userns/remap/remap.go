// Package remap makes the root file system of a container with a user namespace fit its maps, when a runtime is about to start
// it: as an OCI hook, or as the runtime's wrapper.
package remap

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"palisade/internal/idmap"
	"palisade/internal/oci"
	"palisade/internal/sys"
	"palisade/internal/userns/idmount"
	"palisade/internal/userns/shift"
)

// Annotation is the key under which a configuration asks for a user namespace; its value is uid:gid:offset.
const Annotation = "palisade.user-remap"

// CopyUpAnnotation is the key under which a configuration says "true" where all files of an overlay may be copied to its upper
// layer, for wrappers that are given no options.
const CopyUpAnnotation = "palisade.allow-copyup"

// Mode tells how a root file system is made to fit.
type Mode string

// The modes.
const (
	// Auto is IDMap where the kernel supports it, other users of the host cannot reach the root file
	// system, and it is not shifted yet; else Shift. A hook that runs after the container's mounts
	// were made uses Shift.
	Auto Mode = "auto"
	// Shift changes the owners on the disk.
	Shift Mode = "shift"
	// IDMap mounts the root file system with mapped ids.
	IDMap Mode = "idmap"
	// Check changes nothing, and fails where something were to be changed.
	Check Mode = "check"
)

// Modes are all of them.
var Modes = []string{string(Auto), string(Shift), string(IDMap), string(Check)}

// Remapper makes root file systems fit.
type Remapper struct {
	Mode Mode
	// Remap is the value of --user-remap for containers that do not say themselves; empty if there is none.
	Remap string
	// Options are those of a shift.
	Options shift.Options
	// RunDir is where root file systems are mounted for containers.
	RunDir string
	Log    *slog.Logger
}

// DefaultRunDir is where root file systems are mounted for containers, each in a folder named by its id.
const DefaultRunDir = "/run/userns-shift-roots"

// obey takes from a configuration what it says of how its root file system may be made to fit.
func (r *Remapper) obey(c *oci.Config) {
	r.Options.AllowCopyUp = r.Options.AllowCopyUp || c.Spec.Annotations[CopyUpAnnotation] == "true"
}

// wanted is the user namespace that a configuration asks for, zero if it asks for none: by its own mappings, by the annotation, or
// by what the remapper was told.
func (r *Remapper) wanted(c *oci.Config) (idmap.Pair, error) {
	own, err := ownMaps(c)
	if err != nil {
		return idmap.Pair{}, err
	}
	text, from := c.Spec.Annotations[Annotation], "annotation "+Annotation
	if text == "" {
		text, from = r.Remap, "--user-remap"
	}
	if text == "" {
		return own, nil
	}
	remap, err := idmap.ParseRemap(text)
	if err != nil {
		return idmap.Pair{}, fmt.Errorf("%s: %w", from, err)
	}
	if !remap.HasEffect() {
		r.Log.Info("the user remap has no effect, since its uid or gid is 0", "remap", text)
		return own, nil
	}
	pair := remap.Pair()
	if !own.IsZero() && !own.Equal(pair) {
		return idmap.Pair{}, fmt.Errorf("%s asks for %s, but the container's own user namespace is %s", from, pair, own)
	}
	return pair, nil
}

func ownMaps(c *oci.Config) (idmap.Pair, error) {
	if c.Spec.Linux == nil || len(c.Spec.Linux.UIDMappings) == 0 && len(c.Spec.Linux.GIDMappings) == 0 {
		return idmap.Pair{}, nil
	}
	pair := idmap.Pair{UID: oci.FromMappings(c.Spec.Linux.UIDMappings), GID: oci.FromMappings(c.Spec.Linux.GIDMappings)}
	if err := pair.Check(); err != nil {
		return idmap.Pair{}, fmt.Errorf("the container's own user namespace: %w", err)
	}
	if pair.UID.IsIdentity() && pair.GID.IsIdentity() {
		return idmap.Pair{}, nil
	}
	return pair, nil
}

// fit shifts a root file system, or finds that it fits already.
func (r *Remapper) fit(ctx context.Context, root string, pair idmap.Pair) error {
	if mapped, err := idmount.IsMapped(root); err != nil {
		return err
	} else if mapped {
		return r.checkMapped(ctx, root, pair)
	}
	if r.Mode == Check {
		return r.check(ctx, root, pair)
	}
	o := r.Options
	o.Trust = true
	if deadline, ok := ctx.Deadline(); ok {
		o.LockTimeout = min(o.LockTimeout, time.Until(deadline))
	}
	result, err := shift.Shift(ctx, root, pair, o)
	if errors.Is(err, shift.ErrPartial) {
		// No runtime gets as far as to a hook with a root file system that is closed.
		err = fmt.Errorf("%w: userns-shift shift %s %s", err, mapFlags(pair), root)
	}
	if err != nil {
		return err
	}
	for _, warning := range result.Warnings {
		r.Log.Warn(warning, "root", root)
	}
	if result.Changed > 0 {
		r.Log.Info("shifted", "root", root, "to", pair.String(), "files", result.Changed)
	}
	return nil
}

// checkMapped checks that an idmapped root file system has the ids of the pair, and that other
// users cannot reach the files that its container writes.
func (r *Remapper) checkMapped(ctx context.Context, root string, pair idmap.Pair) error {
	shifted, err := IsShifted(root, pair)
	if err == nil && !shifted {
		err = fmt.Errorf("%s is mounted with mapped ids, but not to %s", root, pair)
	}
	if err != nil {
		return err
	}
	private, err := idmount.OpenPrivate(root, r.checkLinks(ctx))
	if err != nil {
		return err
	}
	return private.Close()
}

func (r *Remapper) checkLinks(ctx context.Context) idmount.LinkCheck {
	return func(root sys.File) error { return shift.CheckLinks(ctx, root, r.Options) }
}

func (r *Remapper) check(ctx context.Context, root string, pair idmap.Pair) error {
	s, err := shift.ReadStatus(ctx, root, pair, r.Options)
	switch {
	case err != nil:
		return err
	case s.Kind == shift.IsUnmarked, s.Kind == shift.IsShifted && s.State.Change.To.Equal(pair):
		return nil
	}
	return fmt.Errorf("%s is %s, not shifted to %s: userns-shift shift %s %s", root, s.Describe(), pair, mapFlags(pair), root)
}

// mapFlags is how the pair is given on a command line.
func mapFlags(pair idmap.Pair) string {
	text := ""
	if len(pair.UID) == 1 && len(pair.GID) == 1 && pair.UID[0].Container == 0 && pair.GID[0].Container == 0 &&
		pair.UID[0].Size == pair.GID[0].Size && pair.UID[0].Size < 1<<16 {
		return "--user-remap " + pair.String()
	}
	for _, e := range pair.UID {
		text += " --uidmap " + e.String()
	}
	for _, e := range pair.GID {
		text += " --gidmap " + e.String()
	}
	return text[1:]
}

// Place is where a container's root file system is mounted.
func (r *Remapper) place(id string) string { return filepath.Join(r.RunDir, id, "rootfs") }

// mount makes a root file system fit, and mounts it at a place that the container's root can reach, whatever is above it; with
// mapped ids if the mode wants it so. It returns the place.
func (r *Remapper) mount(ctx context.Context, id, root string, pair idmap.Pair) (string, error) {
	r.sweep()
	if err := r.Unmount(id); err != nil {
		return "", err
	}
	mapped, err := r.wantsIDMap(root, pair)
	if err != nil {
		return "", err
	}
	place, err := r.makePlace(id, pair)
	if err != nil {
		return "", err
	}
	var reachable *idmount.ReachableError
	if mapped {
		err = idmount.Mount(root, place, pair, r.checkLinks(ctx))
		if err == nil {
			return place, nil
		}
		canShift := errors.Is(err, idmount.ErrUnsupported) || errors.As(err, &reachable)
		if r.Mode == IDMap || !canShift {
			return "", errors.Join(err, r.Unmount(id))
		}
	}
	if err := r.fit(ctx, root, pair); err != nil {
		if reachable != nil {
			err = fmt.Errorf("%w; to use an idmapped mount instead: %s", err, reachable.Remedy)
		}
		return "", errors.Join(err, r.Unmount(id))
	}
	if err := idmount.Bind(root, place); err != nil {
		return "", errors.Join(err, r.Unmount(id))
	}
	return place, nil
}

// wantsIDMap tells whether a root file system is to be mounted with mapped ids, if that is possible.
func (r *Remapper) wantsIDMap(root string, pair idmap.Pair) (bool, error) {
	if r.Mode != IDMap && r.Mode != Auto {
		return false, nil
	}
	if mapped, err := idmount.IsMapped(root); err != nil || mapped {
		return false, err
	}
	state, err := shift.Recorded(root, r.Options)
	if err != nil {
		return false, err
	}
	is := ""
	if state != nil {
		is = state.Describe()
	} else if shifted, err := IsShifted(root, pair); err != nil {
		return false, err
	} else if shifted {
		is = "shifted to " + pair.String() + " without a record"
	}
	if is != "" && r.Mode == IDMap {
		return false, fmt.Errorf("%s is %s: its ids cannot be mapped as well (userns-shift unshift %s)", root, is, root)
	}
	return is == "", nil
}

// IsShifted reports, by its owner, whether a root directory is seen with the host's ids.
func IsShifted(root string, pair idmap.Pair) (bool, error) {
	dir, err := sys.OpenDirNoFollow(root)
	if err != nil {
		return false, err
	}
	defer dir.Close()
	i, err := dir.Look()
	if err != nil {
		return false, err
	}
	change := idmap.Change{To: pair}
	_, kind := change.Total().UID.To(i.UID)
	return kind == idmap.Done, nil
}

// makePlace makes the folders of a place. Besides the host's root only the container's can pass them.
func (r *Remapper) makePlace(id string, pair idmap.Pair) (string, error) {
	_, gid, ok := pair.Root()
	if !ok {
		return "", fmt.Errorf("the map %s has no root", pair)
	}
	if err := os.MkdirAll(r.RunDir, 0o711); err != nil {
		return "", err
	}
	if err := os.Chmod(r.RunDir, 0o711); err != nil { // whatever the umask is
		return "", err
	}
	place := r.place(id)
	dir := filepath.Dir(place)
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return "", err
	}
	if err := os.Chown(dir, 0, int(gid)); err != nil {
		return "", err
	}
	if err := os.Chmod(dir, 0o710); err != nil {
		return "", err
	}
	if err := os.Mkdir(place, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return "", err
	}
	return place, nil
}

// staleAge is how old a place is of which nobody has need any more: a runtime needs it only until it has made the container, whose
// own mount namespace has a copy of the mount.
const staleAge = time.Hour

// sweep takes away places that runtimes have left, as crun does if a container fails to start. What cannot be taken away is left
// to the next time.
func (r *Remapper) sweep() {
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

// Unmount takes away what is mounted for a container, if there is anything. A container that runs keeps its root file system.
func (r *Remapper) Unmount(id string) error {
	if err := oci.CheckID(id); err != nil {
		return err
	}
	place := r.place(id)
	for {
		err := sys.Unmount(place, sys.UnmountDetach)
		if sys.IsNotMounted(err) {
			break
		}
		if err != nil {
			return err
		}
	}
	for _, dir := range []string{place, filepath.Dir(place)} {
		if err := os.Remove(dir); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}
