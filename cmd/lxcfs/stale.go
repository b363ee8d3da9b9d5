package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"palisade/internal/fusedev"
	"palisade/internal/mounts"
	"palisade/internal/probe"
	"palisade/internal/sys"
)

// probeTime is how long an lxcfs that is found on the mount point may take to answer.
const probeTime = 2 * time.Second

// takeOver opens the session that an earlier process has left with the service manager, if it is that of what is mounted on path.
func takeOver(files []sys.NamedFile, path string) (*fusedev.Session, error) {
	table, err := mounts.OwnTable()
	if err != nil {
		return nil, err
	}
	if top := table.Top(path); top == nil || top.FSType != mounts.FSType {
		return nil, fmt.Errorf("it is not mounted on %s any more", path)
	}
	session, err := fusedev.OpenSession(files)
	if err == nil && session.HasEnded() {
		err = errors.New("its connection has ended")
	}
	return session, err
}

// forget lets go of the files of a session that is of no use, and has the service manager do so. Those of the next session have the
// same names.
func forget(files []sys.NamedFile) error {
	for _, f := range files {
		f.File.Close()
		if err := sys.RemoveStoredFiles(f.Name); err != nil {
			return fmt.Errorf("have the service manager let go of %s: %w", f.Name, err)
		}
	}
	return nil
}

// checkMountpoint makes sure that path is a directory. It does not look at one on which lxcfs is mounted: that may not
// answer.
func checkMountpoint(path string) error {
	table, err := mounts.OwnTable()
	if err != nil {
		return err
	}
	if top := table.Top(path); top != nil && top.FSType == mounts.FSType {
		return nil
	}
	info, err := os.Lstat(path)
	if err != nil {
		return fmt.Errorf("use MOUNTPOINT: %w", err)
	}
	if !info.IsDir() {
		return fmt.Errorf("use MOUNTPOINT: %s is not a directory", path)
	}
	return nil
}

// clearMountpoint takes lxcfs mounts off the mount point whose daemons have died. One that is alive, or does not answer,
// is somebody else's. Other mounts are left alone: the new one goes on top of them.
func clearMountpoint(ctx context.Context, path string, log *slog.Logger) error {
	for {
		found, err := probe.Look(ctx, path, probeTime)
		if err != nil || found.State == probe.NotMounted {
			return err
		}
		switch found.State {
		case probe.Dead:
		case probe.Healthy:
			return fmt.Errorf("another lxcfs serves %s; stop it first", path)
		default:
			return fmt.Errorf("%s is an lxcfs mount whose daemon does not answer; end that daemon first", path)
		}
		if err := mounts.UnmountHost(found.Device, sys.UnmountDetach); err != nil {
			return fmt.Errorf("take a dead lxcfs mount away: %w", err)
		}
		log.Info("took a dead lxcfs mount away", "mountpoint", path)
	}
}
