// Package install puts lxcfs on a node without a package manager: its programs in a directory, and
// a unit of the node's systemd. So lxcfs ends neither with the agent nor with its pod. It must run
// in the node's mount namespace.
package install

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"palisade/internal/inject/probe"
	"palisade/internal/inject/toolkit"
	"palisade/internal/linux/lockfile"
)

// Installer installs lxcfs below a directory of the node.
type Installer struct {
	// Dir is the directory for the programs.
	Dir string
	// Programs is a directory with the programs to install.
	Programs string
	// Version is the version of the programs.
	Version string
	Toolkit *toolkit.Toolkit
	Log     *slog.Logger
}

// Installed is the lxcfs of a node.
type Installed struct {
	// Unit is the unit of the service manager that runs lxcfs, "" if none does.
	Unit string
	// Program is the program to start if there is no service manager, else "".
	Program string
	// Upgraded is set if another version serves now.
	Upgraded bool
}

const (
	// lockPath is the lock against other agents.
	lockPath = "/run/palisade-nri.lock"
	// lockTime bounds the wait for another agent.
	lockTime = time.Minute
	// jobTime bounds the time of all jobs of systemd: a service gets 90 seconds for its start.
	jobTime = 3 * time.Minute
)

// Install installs lxcfs and starts it, or upgrades it under its readers. It may be called again
// after any interruption. It uses the lxcfs of a package, if the node has one for the same mount
// point, and any other that serves there.
func (i *Installer) Install(ctx context.Context) (Installed, error) {
	ctx, cancel := context.WithTimeout(ctx, jobTime)
	defer cancel()
	lock, err := lockfile.Acquire(ctx, lockPath, lockTime)
	if err != nil {
		return Installed{}, err
	}
	defer lock.Close()
	manager, err := connect(ctx)
	switch {
	case errors.Is(err, errNoSystemd):
		return i.withoutUnit(ctx)
	case err != nil:
		return Installed{}, err
	}
	defer manager.Close()
	u, err := manager.state(ctx, packageUnit)
	if err != nil {
		return Installed{}, err
	}
	if u.isLoaded && i.serves(u.command) {
		return i.usePackage(ctx, manager)
	}
	return i.useUnit(ctx, manager)
}

// serves reports whether a command line is that of an lxcfs with the toolkit's mount point.
func (i *Installer) serves(command []string) bool {
	return len(command) > 0 && filepath.Clean(command[len(command)-1]) == i.Toolkit.Mountpoint
}

// usePackage starts the lxcfs of the package, after it has removed an installed one.
func (i *Installer) usePackage(ctx context.Context, manager *systemd) (Installed, error) {
	if systemUnits().exists() || i.tree().exists() {
		i.Log.Info("the host has a package of lxcfs: removing the installed one", "unit", packageUnit)
		if err := i.remove(ctx, manager); err != nil {
			return Installed{}, err
		}
	}
	return Installed{Unit: packageUnit}, manager.start(ctx, packageUnit)
}

// useUnit installs the programs and the unit, and starts it or lets the new version take over.
func (i *Installer) useUnit(ctx context.Context, manager *systemd) (Installed, error) {
	state, err := manager.state(ctx, Unit)
	if err != nil {
		return Installed{}, err
	}
	found, err := i.Toolkit.Look(ctx)
	if err != nil {
		return Installed{}, err
	}
	if found.State == probe.Healthy && (found.PID != state.mainPID || state.mainPID == 0) {
		return Installed{}, i.useOther(&found)
	}
	before := i.tree().currentVersion()
	name, err := i.add()
	if err != nil {
		return Installed{}, err
	}
	if err := i.activate(ctx, manager, name); err != nil {
		return Installed{}, err
	}
	upgraded, err := i.run(ctx, manager, state, name)
	if err != nil && state.isActive && before != "" && before != name {
		// The old worker serves on. The next one must be of its version.
		return Installed{}, errors.Join(err, i.activate(ctx, manager, before))
	}
	if err != nil {
		return Installed{}, err
	}
	return Installed{Unit: Unit, Upgraded: upgraded}, i.tree().prune()
}

// run starts the unit, or makes a new worker take over if the one that serves is of another
// version. It reports whether another version serves now.
func (i *Installer) run(
	ctx context.Context, manager *systemd, before unitState, name string,
) (upgraded bool, err error) {
	if !before.isActive {
		return true, manager.start(ctx, Unit)
	}
	found, err := i.Toolkit.Look(ctx)
	if err != nil {
		return false, err
	}
	if found.Server == nil {
		return false, fmt.Errorf("upgrade %s: lxcfs is %s: %s", Unit, found.State, found.Reason)
	}
	program, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", found.Server.Worker))
	if err == nil && filepath.Base(filepath.Dir(program)) == name {
		return false, nil
	}
	return true, manager.run(ctx, "reload", manager.ReloadUnitContext, Unit)
}

// withoutUnit installs the programs.
func (i *Installer) withoutUnit(ctx context.Context) (Installed, error) {
	found, err := i.Toolkit.Look(ctx)
	if err != nil {
		return Installed{}, err
	}
	if found.State == probe.Healthy {
		return Installed{}, i.useOther(&found)
	}
	name, err := i.add()
	if err != nil {
		return Installed{}, err
	}
	if err := i.tree().switchTo(name); err != nil {
		return Installed{}, err
	}
	return Installed{Program: i.tree().current(programs[0])}, i.tree().prune()
}

// useOther logs that an lxcfs serves that neither a package nor Install has started.
func (i *Installer) useOther(found *probe.Result) error {
	i.Log.Info("another lxcfs serves, and is used: nothing was installed",
		"mountpoint", found.Mountpoint, "pid", found.PID)
	return nil
}

func (i *Installer) tree() tree { return tree{i.Dir} }

// add adds the version to the tree, with its unit.
func (i *Installer) add() (name string, err error) {
	files := make(map[string][]byte)
	for _, program := range programs {
		if files[program], err = os.ReadFile(filepath.Join(i.Programs, program)); err != nil {
			return "", fmt.Errorf("read the programs to install: %w", err)
		}
	}
	files[Unit] = []byte(unitText(filepath.Dir(i.tree().current(Unit))))
	if err := i.tree().create(); err != nil {
		return "", err
	}
	return i.tree().add(i.Version, files)
}

// activate makes a version the current one, with its unit.
func (i *Installer) activate(ctx context.Context, manager *systemd, name string) error {
	if err := i.tree().switchTo(name); err != nil {
		return err
	}
	text, err := os.ReadFile(i.tree().current(Unit))
	if err != nil {
		return err
	}
	changed, isVolatile, err := systemUnits().write(string(text))
	if err != nil {
		return err
	}
	if isVolatile && changed {
		i.Log.Warn("the unit is lost at a reboot: the host has no writable directory for units",
			"read-only", systemUnits()[0])
	}
	// Also after an earlier call that was interrupted.
	_, changes, err := manager.EnableUnitFilesContext(ctx, []string{Unit}, isVolatile, true)
	if err != nil {
		return fmt.Errorf("enable %s: %w", Unit, err)
	}
	state, err := manager.GetUnitPropertyContext(ctx, Unit, "NeedDaemonReload")
	needsReload := err != nil || state.Value.Value() != false
	if changed || len(changes) > 0 || needsReload {
		if err := manager.ReloadContext(ctx); err != nil {
			return fmt.Errorf("reload the units of systemd: %w", err)
		}
	}
	return nil
}

// IsDir reports whether a path is one for Dir: systemd splits other words, and expands them.
func IsDir(path string) bool {
	return strings.ReplaceAll(path, "/", "") == fileName(strings.ReplaceAll(path, "/", "")) &&
		filepath.IsAbs(path) && filepath.Clean(path) == path && path != "/"
}
