//go:build integration

// Package e2e tells a story with the packages, from their installation to their removal: in a clean root with systemd, with containers of
// runc and of Docker. It writes what it did and saw as a report.
package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"palisade/test/ctr"
)

// shared are a directory with the packages of two versions, see packages.sh, and a root file system for containers.
var shared struct{ packages, rootfs string }

func TestMain(m *testing.M) { ctr.MainIsolated("e2e", func() (int, error) { return runAll(m) }) }

func runAll(m *testing.M) (code int, err error) {
	for _, program := range []string{"systemctl", "dockerd", "docker", "containerd", "runc", "dpkg", "unshare", "nsenter", "busybox", "tar", "lxc-start"} {
		if _, err := exec.LookPath(program); err != nil {
			return 1, fmt.Errorf("%w (make deps installs it)", err)
		}
	}
	dir, err := os.MkdirTemp("", "palisade-e2e-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	if shared.packages = os.Getenv("PALISADE_PACKAGES"); shared.packages == "" {
		shared.packages = filepath.Join(dir, "packages")
		if out, err := exec.Command("./packages.sh", shared.packages).CombinedOutput(); err != nil {
			return 1, fmt.Errorf("build the packages: %w: %s", err, out)
		}
	}
	shared.rootfs = filepath.Join(dir, "rootfs")
	if err := makeRootfs(shared.rootfs); err != nil {
		return 1, err
	}
	return m.Run(), nil
}
