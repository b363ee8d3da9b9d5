package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/moby/sys/mountinfo"

	"palisade/internal/sys"
)

// fsType is what the mount table calls an lxcfs.
const fsType = "fuse.lxcfs"

const (
	// probeArgument makes the program look whether the mount that follows is alive, and exit with one of the codes below.
	probeArgument = "--probe-mount"
	probeAlive    = 0
	probeDead     = 10

	probeTime = 2 * time.Second
)

// topMount is the type of the file system that is mounted on path, "" if none is.
func topMount(path string) (string, error) {
	mounts, err := mountinfo.GetMounts(func(m *mountinfo.Info) (skip, stop bool) { return m.Mountpoint != path, false })
	if err != nil {
		return "", fmt.Errorf("read the mount table: %w", err)
	}
	if len(mounts) == 0 {
		return "", nil
	}
	return mounts[len(mounts)-1].FSType, nil
}

// checkMountpoint makes sure that path is a directory. It does not look at one on which lxcfs is mounted: that may not
// answer.
func checkMountpoint(path string) error {
	fstype, err := topMount(path)
	if err != nil || fstype == fsType {
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

// clearMountpoint takes lxcfs mounts off the mount point whose daemons have died. One that is alive, or does not answer,
// is somebody else's. Other mounts are left alone: the new one goes on top of them.
func clearMountpoint(path string, log *slog.Logger) error {
	for {
		fstype, err := topMount(path)
		if err != nil || fstype != fsType {
			return err
		}
		switch code := probeMount(path); code {
		case probeDead:
		case probeAlive:
			return fmt.Errorf("another lxcfs serves %s; stop it first", path)
		default:
			return fmt.Errorf("%s is an lxcfs mount whose daemon does not answer; end that daemon first", path)
		}
		if err := sys.Unmount(path, sys.UnmountDetach); err != nil {
			return fmt.Errorf("take a dead lxcfs mount away: %w", err)
		}
		log.Info("took a dead lxcfs mount away", "mountpoint", path)
	}
}

// probeMount looks at the mount from a process of its own, since who waits for a file system that does not answer cannot
// be interrupted; it returns probeAlive, probeDead, or something else where it does not answer in time.
func probeMount(path string) int {
	ctx, cancel := context.WithTimeout(context.Background(), probeTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/proc/self/exe", probeArgument, path)
	cmd.WaitDelay = time.Millisecond
	done := make(chan int, 1)
	go func() {
		cmd.Run()
		done <- cmd.ProcessState.ExitCode()
	}()
	select {
	case code := <-done:
		return code
	case <-time.After(probeTime + 100*time.Millisecond):
		return -1
	}
}

// probe is what the process of probeMount does. It asks for what the kernel keeps no answer to.
func probe(path string) int {
	if err := sys.Statfs(path); errors.Is(err, syscall.ENOTCONN) || errors.Is(err, syscall.ECONNABORTED) {
		return probeDead
	}
	return probeAlive
}
