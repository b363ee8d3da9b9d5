package engine

import (
	"os"
	"path/filepath"
	"testing"
)

// ForEachDocker runs a test with Debian's dockerd and the newest one. test gets options of dockerd.
func ForEachDocker(t *testing.T, test func(t *testing.T, options ...string)) {
	t.Helper()
	Need(t, "dockerd", "containerd", "runc", "tar")
	t.Run("20", func(t *testing.T) { test(t, "--storage-driver", "overlay2") })
	t.Run("29", func(t *testing.T) {
		dir, err := BuiltDir(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		runtimes := filepath.Join(dir, "runtimes") // Docker 29 wants a runc with time namespaces
		for _, program := range []string{dir + "/dockerd", runtimes + "/runc"} {
			if _, err := os.Stat(program); err != nil {
				t.Skipf("%v (make dockerd runtimes builds it)", err)
			}
		}
		t.Setenv("PATH", runtimes+":"+dir+":"+os.Getenv("PATH"))
		test(t)
	})
}
