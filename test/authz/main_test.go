//go:build integration

// Package authz tests authz-broker as a program and with a real dockerd, as root. It runs in its
// own namespaces, in which the default paths are free.
package authz

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"palisade/test/ctr"
)

// shared holds the files that all tests use.
var shared struct{ dir, rootfs, clientRootfs, broker, docker, engines string }

func TestMain(m *testing.M) {
	suite := ctr.Suite{Name: "authz", Setup: setUp, Programs: []string{
		"dockerd", "containerd", "runc", "strace", "systemd-analyze", "tar", "ps",
	}}
	suite.Run(m)
}

func setUp(ctx context.Context, dir string) (cleanup func() error, err error) {
	// Prefer the package's client to others that may be installed: its requests are known.
	shared.docker = "/usr/bin/docker"
	if _, err := os.Stat(shared.docker); err != nil {
		if shared.docker, err = exec.LookPath("docker"); err != nil {
			return nil, fmt.Errorf("%w (make deps installs it)", err)
		}
	}
	shared.dir = dir
	// The programs of "make dockerd", where all users can execute them.
	if built := os.Getenv("PALISADE_ENGINES"); built != "" {
		if _, err := os.Stat(built); err == nil {
			shared.engines = "/run/palisade-engines"
			if err := os.Mkdir(shared.engines, 0o755); err != nil {
				return nil, err
			}
			if err := syscall.Mount(built, shared.engines, "", syscall.MS_BIND, ""); err != nil {
				return nil, fmt.Errorf("mount %s: %w", built, err)
			}
		}
	}
	if shared.broker, err = ctr.Program(ctx, dir, "broker", "palisade/cmd/authz-broker"); err != nil {
		return nil, err
	}
	shared.rootfs = filepath.Join(dir, "rootfs")
	shared.clientRootfs = filepath.Join(dir, "client")
	for _, rootfs := range []string{shared.rootfs, shared.clientRootfs} {
		if err := ctr.NewRootfs(ctx, rootfs); err != nil {
			return nil, err
		}
	}
	return nil, ctr.AddHostProgram(ctx, shared.clientRootfs, shared.docker)
}
