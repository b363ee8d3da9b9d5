//go:build integration

// Package install tests how palisade-nri installs lxcfs on a node: in a machine with its own
// systemd and containerd, with the agent in a pod as that of the chart.
package install

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"palisade/test/ctr"
	"palisade/test/engine"
)

// layer has files for the machine: images of two versions of the agent, a package of lxcfs, and a
// root file system for containers.
var layer string

// Versions of the images, of the same length.
const (
	first = "v9.0.1-test"
	later = "v9.0.2-test"
	// broken is an image of the later version whose lxcfs does not start.
	broken = "broken"
)

const repository = "../.."

// imageName returns the name of the image of a version.
func imageName(version string) string { return "localhost/palisade-nri:" + version }

func TestMain(m *testing.M) {
	suite := ctr.Suite{Name: "install", Setup: setUp,
		Programs: []string{"systemctl", "runc", "busybox", "curl", "jq"}}
	suite.Run(m)
}

func setUp(ctx context.Context, dir string) (cleanup func() error, err error) {
	layer = filepath.Join(dir, "layer")
	if err := buildImages(ctx); err != nil {
		return nil, err
	}
	brokenDir := filepath.Join(layer, broken)
	if err := os.CopyFS(brokenDir, os.DirFS(filepath.Join(layer, later))); err != nil {
		return nil, err
	}
	lxcfs := filepath.Join(brokenDir, "lxcfs")
	if err := os.WriteFile(lxcfs, []byte("#!/bin/false\n"), 0o755); err != nil {
		return nil, err
	}
	for _, name := range []string{first, later, broken} {
		image := engine.Image{
			Name: imageName(name), Command: []string{"/palisade-nri"}, Rootfs: filepath.Join(layer, name),
		}
		if err := engine.SaveImages(ctx, filepath.Join(layer, name+".tar"), image); err != nil {
			return nil, err
		}
	}
	return nil, ctr.NewInitRootfs(ctx, filepath.Join(layer, "rootfs"), "::respawn:/bin/sleep 1000\n")
}

// buildImages builds the programs of the first version. Those of the later one are the same with
// another version number.
func buildImages(ctx context.Context) error {
	for _, name := range []string{first, later} {
		if err := os.MkdirAll(filepath.Join(layer, name), 0o755); err != nil {
			return err
		}
	}
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", filepath.Join(layer, "palisade"),
		"palisade/cmd/palisade").CombinedOutput(); err != nil {
		return fmt.Errorf("build palisade: %w: %s", err, out)
	}
	for program, pkg := range map[string]string{
		"palisade-nri": "palisade-nri", "lxcfs": "lxcfs", "lxcfs-metrics": "lxcfs/lxcfs-metrics",
		"lxcfs-toolkit": "lxcfs-toolkit",
	} {
		path := filepath.Join(layer, first, program)
		cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-o", path,
			"-ldflags", "-s -w -X palisade/internal/cli/version.version="+first, "./cmd/"+pkg)
		cmd.Dir, cmd.Env = repository, append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("build %s: %w: %s", pkg, err, out)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		text = bytes.ReplaceAll(text, []byte(first), []byte(later))
		if err := os.WriteFile(filepath.Join(layer, later, program), text, 0o755); err != nil {
			return err
		}
	}
	return nil
}
