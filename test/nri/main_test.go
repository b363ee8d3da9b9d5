//go:build integration

// Package nri tests palisade-nri with a containerd of its own, which it asks by CRI as the kubelet
// does, as root, in its own namespaces.
package nri

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"palisade/test/ctr"
	"palisade/test/engine"
)

// shared holds the files that all tests use.
var shared struct{ dir, images, agent, lxcfs, image string }

func TestMain(m *testing.M) {
	suite := ctr.Suite{Name: "nri", Setup: setUp}
	suite.Run(m)
}

// Images of the tests.
const (
	// pauseImage has one static program, /load, and nothing else.
	pauseImage = "palisade.test/pause:1"
	boxImage   = "palisade.test/box:1"
)

func setUp(ctx context.Context, dir string) (cleanup func() error, err error) {
	if err := findEngines(ctx); err != nil {
		return nil, err
	}
	shared.dir, shared.images = dir, filepath.Join(dir, "images.tar")
	if shared.agent, err = ctr.Program(ctx, dir, "nri", "palisade/cmd/palisade-nri"); err != nil {
		return nil, err
	}
	// The programs that --install takes lie beside the agent.
	toolkit, err := ctr.Program(ctx, dir, "toolkit", "palisade/cmd/lxcfs-toolkit")
	if err != nil {
		return nil, err
	}
	if shared.lxcfs, err = ctr.Program(ctx, dir, "lxcfs", "palisade/cmd/lxcfs"); err != nil {
		return nil, err
	}
	shared.image = filepath.Join(dir, "image")
	if err := os.Mkdir(shared.image, 0o755); err != nil {
		return nil, err
	}
	for name, program := range map[string]string{
		"palisade-nri": shared.agent, "lxcfs": shared.lxcfs, "lxcfs-metrics": shared.lxcfs,
		"lxcfs-toolkit": toolkit,
	} {
		if err := copyFile(program, filepath.Join(shared.image, name)); err != nil {
			return nil, err
		}
	}
	rootfs := filepath.Join(dir, "rootfs")
	if err := ctr.NewRootfs(ctx, rootfs); err != nil {
		return nil, err
	}
	if err := ctr.AddHostProgram(ctx, rootfs, "free"); err != nil { // busybox calls sysinfo(2)
		return nil, err
	}
	bare := filepath.Join(dir, "bare")
	if err := os.Mkdir(bare, 0o755); err != nil {
		return nil, err
	}
	if err := copyFile(filepath.Join(rootfs, "bin/load"), filepath.Join(bare, "load")); err != nil {
		return nil, err
	}
	return nil, engine.SaveImages(ctx, shared.images,
		engine.Image{Name: pauseImage, Command: []string{"/load", "sleepers", "1"}, Rootfs: bare},
		engine.Image{Name: boxImage, Command: []string{"/bin/sleep", "1000000"}, Rootfs: rootfs})
}

// findEngines puts the programs of "make cri" first into PATH, where containerd finds its shim, and
// that runc.
func findEngines(ctx context.Context) error {
	dir, err := engine.BuiltDir(ctx)
	if err != nil {
		return err
	}
	for _, program := range []string{"containerd", "containerd-shim-runc-v2", "ctr", "crictl", "runtimes/runc"} {
		if _, err := os.Stat(filepath.Join(dir, program)); err != nil {
			return fmt.Errorf("%w (make cri builds it)", err)
		}
	}
	return os.Setenv("PATH", dir+":"+filepath.Join(dir, "runtimes")+":"+os.Getenv("PATH"))
}

func copyFile(from, to string) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, text, 0o755)
}
