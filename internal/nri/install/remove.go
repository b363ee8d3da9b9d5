package install

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"palisade/internal/inject/probe"
	"palisade/internal/inject/toolkit"
	"palisade/internal/linux/lockfile"
)

// Uninstall stops the installed lxcfs, and removes all that Install has made. Containers read the
// node's files then. It reports whether anything was installed. An lxcfs of a package is left
// alone.
func (i *Installer) Uninstall(ctx context.Context) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, jobTime)
	defer cancel()
	lock, err := lockfile.Acquire(ctx, lockPath, lockTime)
	if err != nil {
		return false, err
	}
	defer lock.Close()
	defer os.Remove(lockPath)
	if !systemUnits().exists() && !i.tree().exists() {
		return false, nil
	}
	manager, err := connect(ctx)
	if errors.Is(err, errNoSystemd) {
		manager, err = nil, nil
	}
	if err != nil {
		return false, err
	}
	if manager != nil {
		defer manager.Close()
	}
	if err := i.remove(ctx, manager); err != nil {
		return true, err
	}
	errs := []error{os.RemoveAll(probe.RuntimeDir(probe.DefaultRuntimeDir, i.Toolkit.Mountpoint))}
	os.Remove(probe.DefaultRuntimeDir) // unless another lxcfs uses it
	if _, err := os.Stat(packageToolkit); errors.Is(err, fs.ErrNotExist) {
		errs = append(errs, os.RemoveAll(i.Toolkit.RuntimeDir))
	}
	return true, errors.Join(errs...)
}

// packageToolkit is the lxcfs-toolkit of a package, which uses the same runtime directory.
const packageToolkit = "/usr/bin/lxcfs-toolkit"

// remove does the work of Uninstall. manager is nil without systemd.
func (i *Installer) remove(ctx context.Context, manager *systemd) error {
	if manager != nil {
		if err := i.removeFrom(ctx, manager); err != nil {
			return err
		}
	}
	// What ExecStopPost of the unit could not unmount, and without systemd all.
	report, err := i.Toolkit.Poststop(ctx, toolkit.Selection{Jobs: 8, Timeout: lockTime})
	if err = errors.Join(err, report.Err()); err != nil {
		return err
	}
	if err := i.Toolkit.UndoPrestart(); err != nil {
		i.Log.Warn("the shared mount stays", "err", err)
	}
	if err := i.tree().remove(); err != nil {
		return err
	}
	// Directories that lxcfs-toolkit prestart has created, unless they are used.
	os.Remove(i.Toolkit.Mountpoint)
	os.Remove(filepath.Dir(i.Toolkit.Mountpoint))
	return nil
}

// removeFrom stops the unit, and removes it.
func (i *Installer) removeFrom(ctx context.Context, manager *systemd) error {
	u, err := manager.state(ctx, Unit)
	if err != nil {
		return err
	}
	if u.isLoaded {
		// Also while it waits for its next start.
		if err := manager.run(ctx, "stop", manager.StopUnitContext, Unit); err != nil {
			return err
		}
		var errs []error
		for _, isVolatile := range []bool{false, true} {
			_, err := manager.DisableUnitFilesContext(ctx, []string{Unit}, isVolatile)
			errs = append(errs, err)
		}
		if err := errors.Join(errs...); err != nil {
			return err
		}
	}
	if err := systemUnits().remove(); err != nil {
		return err
	}
	if err := manager.ReloadContext(ctx); err != nil {
		return err
	}
	manager.ResetFailedUnitContext(ctx, Unit) // fails if systemd has forgotten it
	return nil
}
