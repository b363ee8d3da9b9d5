//go:build integration

// Package e2e tests the packages from installation to removal, in a clean root with systemd, with
// containers of runc, Docker and LXC. It writes a report of its steps and checks.
package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"palisade/test/ctr"
)

// shared holds a directory with the packages of two versions (see packages.sh), and a root file
// system for containers.
var shared struct{ packages, rootfs string }

func TestMain(m *testing.M) {
	suite := ctr.Suite{Name: "e2e", Setup: setUp, Programs: []string{"systemctl", "dockerd", "docker",
		"containerd", "runc", "dpkg", "unshare", "nsenter", "busybox", "tar", "lxc-start"}}
	suite.Run(m)
}

func setUp(ctx context.Context, dir string) (cleanup func() error, err error) {
	if shared.packages = os.Getenv("PALISADE_PACKAGES"); shared.packages == "" {
		shared.packages = filepath.Join(dir, "packages")
		if out, err := exec.Command("./packages.sh", shared.packages).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("build the packages: %w: %s", err, out)
		}
	}
	shared.rootfs = filepath.Join(dir, "rootfs")
	return nil, newRootfs(ctx, shared.rootfs)
}
