package toolkit

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"palisade/internal/inject/mounts"
	"palisade/internal/inject/probe"
	"palisade/internal/linux/sys"
)

// Bind mounts the lxcfs of the mount point on each of the directories too, and creates those that
// do not exist. It waits up to wait for a healthy lxcfs. It replaces a dead lxcfs on a directory. A
// directory with any other mount is left alone, with an error.
func (t *Toolkit) Bind(ctx context.Context, dirs []string, wait time.Duration) error {
	src, err := t.openSource(ctx, wait)
	if err != nil {
		return err
	}
	defer src.Close()
	lock, err := t.lock(ctx, wait)
	if err != nil {
		return err
	}
	defer lock.Close()
	var errs []error
	for _, dir := range dirs {
		errs = append(errs, t.bind(ctx, src, dir))
	}
	return errors.Join(errs...)
}

func (t *Toolkit) bind(ctx context.Context, src *mounts.Source, dir string) error {
	point, err := mountPointOf(dir)
	if err != nil {
		return err
	}
	free, err := t.clearMountPoint(ctx, point, src.Device())
	if err != nil || !free {
		return err
	}
	if err := os.Mkdir(point, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	root, err := sys.OpenDir("/")
	if err != nil {
		return err
	}
	defer root.Close()
	target, err := root.OpenDirBelow(point)
	if err != nil {
		return err
	}
	defer target.Close()
	if err := src.BindOn(target); err != nil {
		return fmt.Errorf("mount lxcfs on %s: %w", point, err)
	}
	t.Log.Info("mounted lxcfs", "dir", point)
	return nil
}

// mountPointOf returns the path of the directory in mount tables. It creates the parents. It does
// not access the directory itself, on which a dead lxcfs may be mounted.
func mountPointOf(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return "", err
	}
	parent, err := filepath.EvalSymlinks(filepath.Dir(dir))
	return filepath.Join(parent, filepath.Base(dir)), err
}

// clearMountPoint unmounts every dead lxcfs from the directory point. It returns true if nothing is
// mounted there then, false if the lxcfs with the device own is, and an error for any other mount.
func (t *Toolkit) clearMountPoint(
	ctx context.Context, point string, own sys.DeviceNumber,
) (bool, error) {
	for {
		table, err := mounts.OwnTable()
		if err != nil {
			return false, err
		}
		top := table.Top(point)
		switch {
		case top == nil:
			return true, nil
		case top.FSType != mounts.FSType || top.Root != "/":
			return false, fmt.Errorf("%s is in use: %s (%s) is mounted on it",
				point, top.Source, top.FSType)
		case mounts.Device(top) == own:
			return false, nil
		}
		found, err := probe.UnmountDead(ctx, point, deadTime, t.Log)
		if err != nil {
			return false, err
		}
		if found.State != probe.NotMounted && found.Device != own {
			return false, fmt.Errorf("%s is in use: another lxcfs is mounted on it", point)
		}
	}
}

// Unbind unmounts the lxcfs of the mount point, and dead ones, from the directories. Any other
// mount is left alone, with an error.
func (t *Toolkit) Unbind(ctx context.Context, dirs []string) error {
	table, err := mounts.OwnTable()
	if err != nil {
		return err
	}
	own := table.Host(t.Mountpoint).Device
	var errs []error
	for _, dir := range dirs {
		point, err := mountPointOf(dir)
		if err == nil && point == t.Mountpoint {
			err = fmt.Errorf("%s is the mount point of lxcfs itself", point)
		}
		var free bool
		if err == nil {
			free, err = t.clearMountPoint(ctx, point, own)
		}
		if err == nil && !free {
			err = sys.Unmount(point, sys.UnmountDetach)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
