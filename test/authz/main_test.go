//go:build integration

// Package authz tests authz-broker as a program, and with a real dockerd that asks it, as root. It does so in namespaces of its
// own, in which the default paths are free.
package authz

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
var shared struct{ dir, rootfs, broker, docker string }

func TestMain(m *testing.M) {
	ctr.MainIsolated("authz", func() (int, error) { return runAll(m) })
}

func runAll(m *testing.M) (code int, err error) {
	// The one of the package rather than another that may be on the machine: what it asks for is known.
	shared.docker = "/usr/bin/docker"
	if _, err := os.Stat(shared.docker); err != nil {
		if shared.docker, err = exec.LookPath("docker"); err != nil {
			return 1, fmt.Errorf("%w (make deps installs it)", err)
		}
	}
	for _, program := range []string{"dockerd", "containerd", "runc", "strace", "systemd-analyze", "tar", "ps"} {
		if _, err := exec.LookPath(program); err != nil {
			return 1, fmt.Errorf("%w (make deps installs it)", err)
		}
	}
	if shared.dir, err = os.MkdirTemp("", "palisade-authz-"); err != nil {
		return 1, err
	}
	defer os.RemoveAll(shared.dir)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	if shared.broker, err = ctr.Program(ctx, shared.dir, "broker", "palisade/cmd/authz-broker"); err != nil {
		return 1, err
	}
	shared.rootfs = filepath.Join(shared.dir, "rootfs")
	if err := ctr.NewRootfs(ctx, shared.rootfs); err != nil {
		return 1, err
	}
	return m.Run(), nil
}
