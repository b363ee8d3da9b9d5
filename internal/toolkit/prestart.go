package toolkit

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"palisade/internal/mounts"
	"palisade/internal/probe"
	"palisade/internal/sys"
)

// deadTime is how long a dead lxcfs takes to show that, at most. One that waits for its next daemon takes for ever.
const deadTime = 200 * time.Millisecond

// Prestart prepares the host for lxcfs: a dead lxcfs is unmounted from the mount point, and from where Bind has mounted it.
// The mount point's parent becomes a shared mount of itself, unless it is in one, so that containers that have it as a slave
// get what is mounted there later. Whatever else is mounted there is left alone. It asks no file system that may not answer.
func (t *Toolkit) Prestart(ctx context.Context) error {
	for {
		found, err := probe.Look(ctx, t.Mountpoint, deadTime)
		if err != nil {
			return err
		}
		if found.State != probe.Dead {
			t.Log.Debug("mount point", "mountpoint", t.Mountpoint, "state", found.State, "reason", found.Reason)
			break
		}
		if err := mounts.UnmountHost(found.Device, sys.UnmountDetach); err != nil {
			return fmt.Errorf("take a dead lxcfs away: %w", err)
		}
		t.Log.Info("took a dead lxcfs away", "mountpoint", t.Mountpoint)
	}
	table, err := mounts.OwnTable()
	if err != nil {
		return err
	}
	if table.Top(t.Mountpoint) == nil {
		if err := os.MkdirAll(t.Mountpoint, 0o755); err != nil {
			return fmt.Errorf("make the mount point: %w", err)
		}
	}
	parent, err := filepath.EvalSymlinks(filepath.Dir(t.Mountpoint))
	if err != nil {
		return err
	}
	return t.share(parent, table)
}

// Poststop takes lxcfs out of all containers, and off the host, after its daemon has ended for good. Whoever waits for an
// answer still, or is not reached, gets an error, though a service manager may keep the device.
func (t *Toolkit) Poststop(ctx context.Context, s Selection) (Report, error) {
	report, err := t.Umount(ctx, s)
	table, tableErr := mounts.OwnTable()
	if tableErr != nil {
		return report, errors.Join(err, tableErr)
	}
	if top := table.Top(t.Mountpoint); top != nil && top.FSType == mounts.FSType {
		err = errors.Join(err, mounts.UnmountHost(mounts.Device(top), sys.UnmountForce|sys.UnmountDetach))
	}
	return report, err
}

// share makes the directory a shared mount, unless it is in one.
func (t *Toolkit) share(dir string, table *mounts.Table) error {
	if m := table.Holding(dir); m != nil && mounts.PeerGroup(m) != 0 {
		return nil
	}
	if table.Top(dir) == nil {
		if err := bindOnItself(dir, table); err != nil {
			return fmt.Errorf("mount %s on itself: %w", dir, err)
		}
		if err := t.markBound(dir); err != nil {
			t.Log.Warn("the mount will stay when lxcfs is removed", "dir", dir, "err", err)
		}
	}
	if err := sys.MakeShared(dir); err != nil {
		return err
	}
	t.Log.Info("made a shared mount", "dir", dir)
	return nil
}

// bindOnItself makes the directory a mount with all that is mounted in it.
func bindOnItself(dir string, table *mounts.Table) error {
	hidden, err := sys.OpenDir(dir)
	if err != nil {
		return err
	}
	defer hidden.Close()
	if err := sys.BindMountSelf(dir); err != nil {
		return err
	}
	// Not a peer of the mount it is from, which would get all that is mounted here a second time.
	if err := sys.MakePrivate(dir); err != nil {
		return err
	}
	// What was mounted there before is there twice now. Nobody could unmount what is hidden.
	for _, point := range table.Below(dir) {
		if err := hidden.UnmountAt(strings.TrimPrefix(point, dir+"/")); err != nil {
			return err
		}
	}
	return nil
}
