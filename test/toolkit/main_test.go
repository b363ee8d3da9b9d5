//go:build integration

// Package toolkit tests lxcfs-toolkit and palisade with real containers, as root, in its own
// namespaces, so that "all containers" are those of the tests.
package toolkit

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"palisade/test/ctr"
)

// shared holds the files that all tests use.
var shared struct{ dir, rootfs, lxcfs, toolkit, palisade string }

func TestMain(m *testing.M) {
	if code, done := ctr.ExecFiltered(); done {
		os.Exit(code)
	}
	suite := ctr.Suite{Name: "toolkit", Programs: []string{"runc", "crun"}, Setup: setUp}
	suite.Run(m)
}

func setUp(ctx context.Context, dir string) (cleanup func() error, err error) {
	shared.dir, shared.rootfs = dir, filepath.Join(dir, "rootfs")
	if err := ctr.NewRootfs(ctx, shared.rootfs); err != nil {
		return nil, err
	}
	if err := ctr.AddHostProgram(ctx, shared.rootfs, "bwrap", "getconf", "lscpu", "lstopo-no-graphics", "numactl", "unshare"); err != nil {
		return nil, err
	}
	if shared.lxcfs, err = ctr.Program(ctx, dir, "lxcfs", "palisade/cmd/lxcfs"); err != nil {
		return nil, err
	}
	if shared.toolkit, err = ctr.Program(ctx, dir, "toolkit", "palisade/cmd/lxcfs-toolkit"); err != nil {
		return nil, err
	}
	if shared.palisade, err = ctr.Program(ctx, dir, "palisade", "palisade/cmd/palisade"); err != nil {
		return nil, err
	}
	// lxcfs-toolkit executes palisade in its directory. In the virtual machine it is there.
	if filepath.Dir(shared.toolkit) == dir {
		if err := os.Symlink(shared.palisade, filepath.Join(dir, "palisade")); err != nil {
			return nil, err
		}
	}
	return nil, nil
}
