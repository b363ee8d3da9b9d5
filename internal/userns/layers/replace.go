package layers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"palisade/internal/linux/sys"
	"palisade/internal/userns/idmount"
)

// busyTimeout is how long Replace waits until the upper layer is unused: other runtimes that are
// starting containers have a copy of the mount for a moment, as have containers that are ending.
const busyTimeout = 10 * time.Second

// Replace mounts the overlay again, with its lower layers idmapped to the user namespace, at the same
// place. In between, when no overlay uses the upper layer, it calls shiftUpper. On failure the
// overlay is mounted as before. The error is idmount.ErrUnsupported if nothing has changed and the
// kernel, a file system or an option does not allow it. scratch is an empty directory.
//
// The kernel leaves it undefined what happens if files are changed through two overlays with the
// same upper layer (overlayfs.rst). So the engine's one must end first: Replace fails if it is
// mounted elsewhere, or in use. The engine finds the new one where it has mounted its own.
func (o *Overlay) Replace(
	ctx context.Context, ns sys.File, scratch string, shiftUpper func() error,
) error {
	if o.unsupported != nil {
		return o.unsupported
	}
	if err := o.probe(ns, scratch); err != nil {
		return err
	}
	if err := o.unmount(ctx); err != nil {
		return err
	}
	if err := o.mountMapped(ctx, ns, scratch, shiftUpper); err != nil {
		if restoreErr := o.restore(scratch); restoreErr != nil {
			err = fmt.Errorf("%w; mount the overlay as before: %w", err, restoreErr)
		}
		return err
	}
	return nil
}

// probe fails with idmount.ErrUnsupported if the lower layers cannot be idmapped.
func (o *Overlay) probe(ns sys.File, scratch string) error {
	return o.inNamespace(scratch, func(dirs scratchDirs) error {
		if err := o.mapLower(ns); err != nil {
			return err
		}
		options := "lowerdir=" + escapeLayer.Replace(o.lower[0]) + ":" +
			escapeLayer.Replace(dirs.empty)
		err := sys.Mount(o.source, dirs.merged, "overlay", 0, options)
		if sys.IsInvalid(err) {
			return fmt.Errorf("%w: overlay of idmapped layers: %w (requires Linux 5.19)",
				idmount.ErrUnsupported, err)
		}
		return err
	})
}

func (o *Overlay) mapLower(ns sys.File) error {
	for _, layer := range o.lower {
		if err := idmount.MapLayer(layer, ns); err != nil {
			return err
		}
	}
	return nil
}

// scratchDirs are empty directories on a file system in memory.
type scratchDirs struct{ empty, merged, upper, work string }

// inNamespace runs do on a thread in a mount namespace of its own, in the overlay's base directory.
// If this process is killed, nothing stays mounted.
func (o *Overlay) inNamespace(scratch string, do func(dirs scratchDirs) error) error {
	return sys.InNewMountNamespace(func(t *sys.Thread) error {
		// The copy of its mount would keep the overlay in use until the thread has ended.
		err := sys.Unmount(o.point, sys.UnmountDetach)
		if err != nil && !sys.IsNotMounted(err) {
			return err
		}
		if err := sys.Mount("tmpfs", scratch, "tmpfs", 0, "mode=700"); err != nil {
			return err
		}
		in := func(name string) string { return filepath.Join(scratch, name) }
		dirs := scratchDirs{in("empty"), in("merged"), in("upper"), in("work")}
		for _, dir := range []string{dirs.empty, dirs.merged, dirs.upper, dirs.work} {
			if err := os.Mkdir(dir, 0o700); err != nil {
				return err
			}
		}
		base, err := sys.OpenDir(o.base)
		if err != nil {
			return err
		}
		defer base.Close()
		if err := t.Enter(base); err != nil {
			return err
		}
		return do(dirs)
	})
}

// unmount unmounts the engine's overlay unless a process uses it.
func (o *Overlay) unmount(ctx context.Context) error {
	err := o.whileBusy(ctx, func() error { return sys.Unmount(o.point, 0) })
	if sys.IsBusy(err) {
		err = fmt.Errorf("%w (a process has a file of it open, or its working directory in it)", err)
	}
	return err
}

// whileBusy repeats do as long as it fails with EBUSY.
func (o *Overlay) whileBusy(ctx context.Context, do func() error) error {
	pause := time.Millisecond
	for deadline := time.Now().Add(busyTimeout); ; pause = min(2*pause, 100*time.Millisecond) {
		err := do()
		if !sys.IsBusy(err) || time.Now().After(deadline) {
			return err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), err)
		}
	}
}

// mountMapped waits until the upper layer is unused, and shifts it. Then it mounts the overlay.
func (o *Overlay) mountMapped(
	ctx context.Context, ns sys.File, scratch string, shiftUpper func() error,
) error {
	if err := o.waitUnused(ctx, scratch); err != nil {
		return err
	}
	if err := shiftUpper(); err != nil {
		return err
	}
	return o.mount(scratch, func() error { return o.mapLower(ns) })
}

// restore mounts the overlay as the engine has.
func (o *Overlay) restore(scratch string) error {
	return o.mount(scratch, func() error { return nil })
}

// mount mounts the overlay at its place. prepare is called before, in the mount namespace in which
// the overlay's layers are resolved.
func (o *Overlay) mount(scratch string, prepare func() error) error {
	if o.isVolatile {
		// The kernel refuses an upper layer of a volatile overlay, which a crash could have damaged
		// (overlayfs.rst). There was none since the engine has mounted it.
		marker := filepath.Join(o.work, "work/incompat/volatile")
		if err := os.RemoveAll(marker); err != nil {
			return err
		}
	}
	var clone sys.File
	err := o.inNamespace(scratch, func(dirs scratchDirs) error {
		if err := prepare(); err != nil {
			return err
		}
		err := sys.Mount(o.source, dirs.merged, "overlay", o.flags, o.options)
		if err != nil {
			return err
		}
		merged, err := sys.OpenDir(dirs.merged)
		if err != nil {
			return err
		}
		defer merged.Close()
		clone, err = merged.CloneMount()
		return err
	})
	if err != nil {
		return err
	}
	defer clone.Close()
	point, err := sys.OpenDirNoFollow(o.point)
	if err != nil {
		return err
	}
	defer point.Close()
	return clone.MoveMount(point, false)
}
