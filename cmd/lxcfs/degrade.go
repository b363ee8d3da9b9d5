package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// degradeTime is how long lxcfs-toolkit may take in all.
const degradeTime = time.Minute

// degrade gives containers the host's files, where nobody can serve them any more.
func (c *config) degrade() error {
	if err := c.unmount(); err != nil {
		c.log.Error("the mount stays", "err", err)
	}
	toolkit := programBeside("lxcfs-toolkit", "")
	ctx, cancel := context.WithTimeout(context.Background(), degradeTime)
	defer cancel()
	if out, err := exec.CommandContext(ctx, toolkit, "--mountpoint", c.mountpoint, "umount", "--all").CombinedOutput(); err != nil {
		return fmt.Errorf("take lxcfs out of the containers: %w: %.500s", err, out)
	}
	c.log.Warn("containers have the host's files now", "mountpoint", c.mountpoint)
	return nil
}

// programBeside is the path of a program beside this one, or of that in the folder where there is none.
func programBeside(name, folder string) string {
	if self, err := os.Executable(); err == nil {
		if beside := filepath.Join(filepath.Dir(self), name); isProgram(beside) {
			return beside
		}
	}
	return filepath.Join(folder, name)
}

func isProgram(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0
}
