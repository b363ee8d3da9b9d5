package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"palisade/internal/inject/mounts"
	"palisade/internal/inject/probe"
	"palisade/internal/linux/sys"
	"palisade/internal/lxcfs/fusedev"
)

// probeTime bounds the time that an lxcfs on the mount point takes to answer.
const probeTime = 2 * time.Second

// lxcfsOn returns the lxcfs that is mounted on path, or nil. It does not access it: a dead one does
// not answer.
func lxcfsOn(path string) (*mounts.Mount, error) {
	table, err := mounts.OwnTable()
	if err != nil {
		return nil, err
	}
	if top := table.Top(path); top != nil && top.FSType == mounts.FSType {
		return top, nil
	}
	return nil, nil
}

// takeOver opens the session that an earlier process has stored in the service manager, if that is
// still mounted on path.
func takeOver(files []sys.NamedFile, path string) (*fusedev.Session, error) {
	if mount, err := lxcfsOn(path); err != nil {
		return nil, err
	} else if mount == nil {
		return nil, fmt.Errorf("no longer mounted on %s", path)
	}
	session, err := fusedev.OpenSession(files)
	if err == nil && session.HasEnded() {
		err = errors.New("FUSE connection has ended")
	}
	return session, err
}

// forget closes the files of a session that cannot be used, and removes them from the service
// manager: files of the next session have the same names.
func forget(files []sys.NamedFile) error {
	for _, f := range files {
		f.File.Close()
		if err := sys.RemoveStoredFiles(f.Name); err != nil {
			return fmt.Errorf("remove %s from the service manager: %w", f.Name, err)
		}
	}
	return nil
}

func checkMountpoint(path string) error {
	if mount, err := lxcfsOn(path); err != nil || mount != nil {
		return err
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

// clearMountpoint unmounts every dead lxcfs from the mount point. It returns an error for one that
// is alive or does not answer, which belongs to another daemon. It leaves other mounts alone: the
// new one is mounted on top of them.
func clearMountpoint(ctx context.Context, path string, log *slog.Logger) error {
	found, err := probe.UnmountDead(ctx, path, probeTime, log)
	switch {
	case err != nil || found.State == probe.NotMounted:
		return err
	case found.State == probe.Healthy:
		return fmt.Errorf("another lxcfs serves %s: stop it first", path)
	}
	return fmt.Errorf("the lxcfs on %s does not answer: end its daemon first", path)
}

// degradeTime bounds the time of lxcfs-toolkit.
const degradeTime = time.Minute

// degrade unmounts lxcfs everywhere if no worker can serve it: containers read the host's files
// then.
func (c *config) degrade() error {
	if err := c.unmount(); err != nil {
		c.log.Error("lxcfs not unmounted", "err", err)
	}
	toolkit := programBeside(c.program, "lxcfs-toolkit", "")
	ctx, cancel := context.WithTimeout(context.Background(), degradeTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, toolkit, "--mountpoint", c.mountpoint, "umount", "--all")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("unmount lxcfs from containers: %w: %.500s", err, out)
	}
	c.log.Warn("containers read the host's files now", "mountpoint", c.mountpoint)
	return nil
}

// ownProgram returns the path of this program: that by which it was started if it is absolute, else
// where the kernel found it. The first may lead through a symbolic link that an upgrade replaces.
func ownProgram() (string, error) {
	self, err := os.Executable()
	if err != nil || !filepath.IsAbs(os.Args[0]) {
		return self, err
	}
	started, err := os.Stat(os.Args[0])
	if err != nil {
		return self, nil
	}
	if running, err := os.Stat("/proc/self/exe"); err != nil || !os.SameFile(started, running) {
		return self, nil
	}
	return os.Args[0], nil
}

// programBeside returns the path of the program name in the directory of another, or else in dir.
func programBeside(other, name, dir string) string {
	beside, err := exec.LookPath(filepath.Join(filepath.Dir(other), name))
	if err == nil {
		return beside
	}
	return filepath.Join(dir, name)
}
