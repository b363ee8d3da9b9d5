//go:build integration

// Package integration tests lxcfs with real containers on the machine's own cgroups, as root.
package integration

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"palisade/internal/linux/cgroup"
	"palisade/internal/linux/sys"
	"palisade/internal/lxcfs/container"
	"palisade/test/ctr"
)

// shared holds the daemon and the root file system that most tests use.
var shared struct {
	dir, rootfs, lxcfs string
	daemon             *ctr.Daemon
	// finder is used by TestOutermost. It ends with the process, as in lxcfs.
	finder *container.Finder[int]
}

func TestMain(m *testing.M) {
	suite := ctr.Suite{Name: "integration", OnHost: true, Setup: setUp,
		Programs: []string{"runc", "crun", "nsenter"}}
	suite.Run(m)
}

func setUp(ctx context.Context, dir string) (cleanup func() error, err error) {
	shared.dir, shared.rootfs = dir, filepath.Join(dir, "rootfs")
	if err := ctr.NewRootfs(ctx, shared.rootfs); err != nil {
		return nil, err
	}
	if shared.lxcfs, err = ctr.Program(ctx, dir, "lxcfs", "palisade/cmd/lxcfs"); err != nil {
		return nil, err
	}
	if err := addMetricsProgram(ctx); err != nil {
		return nil, err
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	cgroups, err := cgroup.Detect(mounts, "")
	if err != nil {
		return nil, err
	}
	proc, err := sys.OpenDir("/proc")
	if err != nil {
		return nil, err
	}
	shared.finder, err = container.NewFinder[int](
		cgroups, proc, new(atomic.Uint64), slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	// Not ctx, which ends with the setup.
	if shared.daemon, err = ctr.StartDaemon(context.Background(), shared.lxcfs, dir); err != nil {
		return nil, err
	}
	return shared.daemon.Stop, nil
}

// addMetricsProgram builds lxcfs-metrics beside an lxcfs that was built here, which looks for it
// there.
func addMetricsProgram(ctx context.Context) error {
	if filepath.Dir(shared.lxcfs) != shared.dir {
		return nil
	}
	built, err := ctr.Program(ctx, shared.dir, "metrics", "palisade/cmd/lxcfs/lxcfs-metrics")
	if err != nil {
		return err
	}
	return os.Rename(built, filepath.Join(shared.dir, "lxcfs-metrics"))
}

// runtimes returns the runtimes for most tests. In the virtual machine only TestEveryFile uses
// runc, which starts itself several times for each command.
func runtimes() []string {
	if os.Getenv("PALISADE_VM") != "" {
		return []string{"crun"}
	}
	return []string{"runc", "crun"}
}

// forEachRuntime runs a test with all runtimes.
func forEachRuntime(t *testing.T, test func(t *testing.T, runtime string)) {
	for _, name := range runtimes() {
		t.Run(name, func(t *testing.T) { test(t, name) })
	}
}

// start starts a container with the shared daemon's files, which is removed after the test.
func start(t *testing.T, o ctr.Options) *ctr.Container {
	t.Helper()
	o.Rootfs, o.ReadOnly = shared.rootfs, true
	if o.Runtime == "" {
		o.Runtime = runtimes()[0]
	}
	if o.Lxcfs == "" {
		o.Lxcfs = shared.daemon.Mountpoint
	}
	c, err := ctr.Start(t.Context(), t.TempDir(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Remove(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("container's log: %s\ndaemon's log: %s", c.Log(), shared.daemon.Log())
		}
	})
	return c
}

// inside runs a program in the container and returns its output.
func inside(t *testing.T, c *ctr.Container, args ...string) string {
	t.Helper()
	out, err := c.Exec(t.Context(), args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// field returns the number after a key in the format of meminfo, in bytes if the unit is kB.
func field(t *testing.T, text, key string) uint64 {
	t.Helper()
	for line := range strings.Lines(text) {
		name, rest, ok := strings.Cut(line, ":")
		words := strings.Fields(rest)
		if !ok || name != key || len(words) == 0 {
			continue
		}
		n, err := strconv.ParseUint(words[0], 10, 64)
		if err != nil {
			t.Fatalf("parse %q: %v", line, err)
		}
		if len(words) == 2 {
			n *= 1024
		}
		return n
	}
	t.Fatalf("no %s in %q", key, text)
	return 0
}

// memory returns a field of the container's meminfo.
func memory(t *testing.T, c *ctr.Container, key string) uint64 {
	t.Helper()
	return field(t, inside(t, c, "cat", "/proc/meminfo"), key)
}

// hostFile returns the content of a file on the host.
func hostFile(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// processors counts the processors in a cpuinfo.
func processors(cpuinfo string) int { return strings.Count(cpuinfo, "processor\t:") }

func hostCPUs() int { return runtime.NumCPU() }

const mib = 1 << 20
