//go:build integration

package integration

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"palisade/test/ctr"
)

// TestAbsurdCgroupNames checks that a container keeps its limit when its init moves to child
// cgroups with unusual names (the kernel refuses only newlines).
func TestAbsurdCgroupNames(t *testing.T) {
	const limit = 64 * mib
	d := newDaemon(t, t.TempDir())
	for _, c := range []struct{ name, dir string }{
		{"a colon", "x:y"},
		{"a comma", "cpu,memory"},
		{"a blank", " a b "},
		{"a backslash", `a\012b`},
		{"deleted", "a (deleted)"},
		{"not UTF-8", "\xff\xfe"},
		{"long", strings.Repeat("x", 255)},
		{"deep", strings.Repeat("d/", 40)},
		{"init.scope", "init.scope/init.scope"},
		{"runtime", "docker-0123456789abcdef.scope"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			container := start(t, ctr.Options{Lxcfs: d.Mountpoint, Memory: limit, CgroupNamespace: true})
			parent, err := container.Cgroup("memory")
			if err != nil {
				t.Fatal(err)
			}
			dir := filepath.Join(parent, c.dir)
			if err := os.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { // before the runtime's delete, which cannot handle these names
				for below := dir; below != parent; below = filepath.Dir(below) {
					waitFor(t, "removal of the cgroup", func() bool { return os.Remove(below) == nil })
				}
			})
			if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(container.PID)), 0o644); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if got := memory(t, container, "MemTotal"); got != limit {
					t.Errorf("MemTotal %d, want %d", got, uint64(limit))
				}
				time.Sleep(1100 * time.Millisecond) // until the container is looked up again
			}
			if err := os.WriteFile(filepath.Join(parent, "cgroup.procs"), []byte(strconv.Itoa(container.PID)), 0o644); err != nil {
				t.Fatal(err)
			}
		})
	}
}
