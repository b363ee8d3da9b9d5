//go:build integration

// Package toolkit tests lxcfs-toolkit with real containers, as root. It does so in namespaces of its own: "all containers"
// are those of the tests.
package toolkit

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"palisade/test/ctr"
)

// shared is what all tests use.
var shared struct{ dir, rootfs, lxcfs, toolkit, palisade string }

func TestMain(m *testing.M) {
	if code, done := ctr.ExecFiltered(); done {
		os.Exit(code)
	}
	ctr.MainIsolated("toolkit", func() (int, error) { return runAll(m) })
}

func runAll(m *testing.M) (code int, err error) {
	for _, program := range []string{"runc", "crun"} {
		if _, err := exec.LookPath(program); err != nil {
			return 1, fmt.Errorf("%w (make deps installs it)", err)
		}
	}
	dir, err := os.MkdirTemp("", "palisade-toolkit-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil { // for containers with a user namespace
		return 1, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Minute)
	defer cancel()
	shared.dir, shared.rootfs = dir, filepath.Join(dir, "rootfs")
	if err := ctr.NewRootfs(ctx, shared.rootfs); err != nil {
		return 1, err
	}
	if err := ctr.AddHostProgram(ctx, shared.rootfs, "bwrap", "getconf", "lscpu", "unshare"); err != nil {
		return 1, err
	}
	if shared.lxcfs, err = ctr.Program(ctx, dir, "lxcfs", "palisade/cmd/lxcfs"); err != nil {
		return 1, err
	}
	if shared.toolkit, err = ctr.Program(ctx, dir, "toolkit", "palisade/cmd/lxcfs-toolkit"); err != nil {
		return 1, err
	}
	if shared.palisade, err = ctr.Program(ctx, dir, "palisade", "palisade/cmd/palisade"); err != nil {
		return 1, err
	}
	// lxcfs-toolkit finds it beside itself. In the virtual machine it is there.
	if filepath.Dir(shared.toolkit) == dir {
		if err := os.Symlink(shared.palisade, filepath.Join(dir, "palisade")); err != nil {
			return 1, err
		}
	}
	return m.Run(), nil
}
