//go:build integration

package remap

import (
	"os"
	"path/filepath"
	"testing"

	"palisade/test/engine"
)

// TestDockerBuild builds an image on top of another with BuildKit, whose steps do not run in
// containers of the default runtime, and starts containers of it with and without the wrapper.
func TestDockerBuild(t *testing.T) {
	image := tarOf(t)
	engine.ForEachDocker(t, func(t *testing.T, driver ...string) {
		built, err := engine.BuiltDir(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		plugin := filepath.Join(built, "docker-buildx")
		if _, err := os.Stat(plugin); err != nil {
			t.Skipf("%v (make dockerd builds it)", err)
		}
		startDockerd(t, image, driver)
		dir := t.TempDir()
		text := "FROM box\nRUN echo x >/root/new\n"
		err = os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(text), 0o600)
		if err == nil {
			err = os.Mkdir(filepath.Join(dir, "cli-plugins"), 0o700)
		}
		if err == nil {
			err = os.Symlink(plugin, filepath.Join(dir, "cli-plugins/docker-buildx"))
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Setenv("DOCKER_CONFIG", dir)
		t.Setenv("DOCKER_BUILDKIT", "1")
		if r := engine.Run(t, "", "docker", "build", "--network", "none", "--tag", "top",
			dir); r.Code != 0 {
			t.Fatalf("%+v", r)
		}
		for _, runtime := range []string{"runc", "userns"} {
			r := engine.Run(t, "", "docker", "run", "--rm", "--runtime", runtime, "--network", "none",
				"--cgroup-parent", engine.ParentCgroup(t), "top", "stat", "-c", "%u", "/root/new", "/etc")
			if r.Stdout != "0\n0\n" {
				t.Errorf("%s: %+v", runtime, r)
			}
		}
	})
}
