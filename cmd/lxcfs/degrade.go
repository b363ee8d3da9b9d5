package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// degradeTime bounds the time of lxcfs-toolkit.
const degradeTime = time.Minute

// degrade unmounts lxcfs everywhere if no worker can serve it: containers read the host's files
// then.
func (c *config) degrade() error {
	if err := c.unmount(); err != nil {
		c.log.Error("lxcfs not unmounted", "err", err)
	}
	toolkit := programBeside("lxcfs-toolkit", "")
	ctx, cancel := context.WithTimeout(context.Background(), degradeTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, toolkit, "--mountpoint", c.mountpoint, "umount", "--all")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("unmount lxcfs from containers: %w: %.500s", err, out)
	}
	c.log.Warn("containers read the host's files now", "mountpoint", c.mountpoint)
	return nil
}

// programBeside returns the path of the program in the directory of this one, or else in dir.
func programBeside(name, dir string) string {
	if self, err := os.Executable(); err == nil {
		if beside, err := exec.LookPath(filepath.Join(filepath.Dir(self), name)); err == nil {
			return beside
		}
	}
	return filepath.Join(dir, name)
}
