package toolkit

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"palisade/internal/inject/mounts"
	"palisade/internal/inject/probe"
	"palisade/internal/linux/sys"
)

// deadTime bounds the probe of an lxcfs that may be dead: a dead one fails at once. One without a
// daemon, but with its connection kept open, does not answer at all.
const deadTime = 200 * time.Millisecond

// Prestart prepares the host for lxcfs. It unmounts a dead lxcfs from the mount point, and from
// where Bind has mounted it. It bind-mounts the parent of the mount point on itself as a shared
// mount, unless that is in one, so that later mounts propagate to containers that have it as a
// slave. It leaves any other mount alone, and waits for no file system without bound.
func (t *Toolkit) Prestart(ctx context.Context) error {
	found, err := probe.UnmountDead(ctx, t.Mountpoint, deadTime, t.Log)
	if err != nil {
		return err
	}
	t.Log.Debug("mount point",
		"mountpoint", t.Mountpoint, "state", found.State, "reason", found.Reason)
	table, err := mounts.OwnTable()
	if err != nil {
		return err
	}
	if table.Top(t.Mountpoint) == nil {
		if err := os.MkdirAll(t.Mountpoint, 0o755); err != nil {
			return fmt.Errorf("create the mount point: %w", err)
		}
	}
	parent, err := filepath.EvalSymlinks(filepath.Dir(t.Mountpoint))
	if err != nil {
		return err
	}
	return t.share(parent, table)
}

// Poststop unmounts lxcfs from all containers and from the host, after its daemon has ended for
// good. Pending and later reads through mounts that remain fail, even if a service manager keeps
// the device open.
func (t *Toolkit) Poststop(ctx context.Context, s Selection) (Report, error) {
	report, err := t.Umount(ctx, s)
	table, tableErr := mounts.OwnTable()
	if tableErr != nil {
		return report, errors.Join(err, tableErr)
	}
	if own := table.Host(t.Mountpoint).Device; own != (sys.DeviceNumber{}) {
		err = errors.Join(err, mounts.UnmountHost(own, sys.UnmountForce|sys.UnmountDetach))
	}
	return report, err
}

// share makes the directory a shared mount, unless it is on one.
func (t *Toolkit) share(dir string, table *mounts.Table) error {
	if m := table.Holding(dir); m != nil && mounts.PeerGroup(m) != 0 {
		return nil
	}
	if table.Top(dir) == nil {
		if err := bindOnItself(dir, table); err != nil {
			return fmt.Errorf("mount %s on itself: %w", dir, err)
		}
		if err := t.markBound(dir); err != nil {
			t.Log.Warn("mount not recorded: removing lxcfs will not unmount it", "dir", dir, "err", err)
		}
	}
	if err := sys.MakeShared(dir); err != nil {
		return err
	}
	t.Log.Info("made a shared mount", "dir", dir)
	return nil
}

// bindOnItself bind-mounts the directory on itself, with all mounts below it.
func bindOnItself(dir string, table *mounts.Table) error {
	hidden, err := sys.OpenDir(dir)
	if err != nil {
		return err
	}
	defer hidden.Close()
	if err := sys.BindMountSelf(dir); err != nil {
		return err
	}
	// As a peer of the mount below, it would propagate each mount to it.
	if err := sys.MakePrivate(dir); err != nil {
		return err
	}
	// The mounts below exist twice now. Unmount the originals, which would be hidden for good.
	for _, point := range table.Below(dir) {
		if err := hidden.UnmountAt(strings.TrimPrefix(point, dir+"/")); err != nil {
			return err
		}
	}
	return nil
}
