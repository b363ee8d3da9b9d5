//go:build integration

package toolkit

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"palisade/internal/inject/probe"
	"palisade/test/ctr"
	"palisade/test/engine"
)

// host is the host of a test: a mount point for lxcfs, and a directory.
type host struct {
	dir, mountpoint string
	daemon          *ctr.Daemon
}

// newHost returns a host without a daemon. The test fails if it changes the mounts.
func newHost(t *testing.T) *host {
	t.Helper()
	h := &host{dir: t.TempDir()}
	if err := os.Chmod(h.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	h.mountpoint = filepath.Join(h.dir, "lxc/lxcfs")
	before := hostMounts(t)
	t.Cleanup(func() {
		h.stop(t)
		if after := hostMounts(t); after != before {
			t.Errorf("mounts changed: got\n%s\nwant\n%s", after, before)
		}
	})
	return h
}

// hostMounts returns the mount table of this namespace.
func hostMounts(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// start starts a daemon on the host's mount point.
func (h *host) start(t *testing.T) {
	t.Helper()
	// The wrapper looks for the daemon's socket there.
	d, err := ctr.StartDaemon(t.Context(), shared.lxcfs, filepath.Dir(h.mountpoint), "--runtime-dir", probe.DefaultRuntimeDir)
	if err != nil {
		t.Fatal(err)
	}
	h.daemon = d
}

// stop stops the daemon, if there is one.
func (h *host) stop(t *testing.T) {
	t.Helper()
	if h.daemon == nil {
		return
	}
	if err := h.daemon.Stop(); err != nil {
		t.Error(err)
	}
	h.daemon = nil
}

// kill kills the daemon, and leaves its dead mount.
func (h *host) kill(t *testing.T) {
	t.Helper()
	if err := h.daemon.Crash(); err != nil {
		t.Fatal(err)
	}
	h.daemon = nil
}

// args returns the arguments of the toolkit with its global options.
func (h *host) args(args ...string) []string {
	return append([]string{"--mountpoint", h.mountpoint, "--runtime-dir", filepath.Join(h.dir, "run")}, args...)
}

// run runs the toolkit, with a timeout.
func (h *host) run(t *testing.T, stdin string, args ...string) engine.Ran {
	t.Helper()
	return engine.Run(t, stdin, shared.toolkit, h.args(args...)...)
}

// must runs the toolkit, which must succeed.
func (h *host) must(t *testing.T, args ...string) engine.Ran {
	t.Helper()
	return wantSuccess(t, args, h.run(t, "", args...))
}

// wantSuccess checks that a command with these arguments has succeeded, and returns its result.
func wantSuccess(t *testing.T, args []string, r engine.Ran) engine.Ran {
	t.Helper()
	if r.Code != 0 {
		t.Fatalf("%q: exit code %d\n%s%s", args, r.Code, r.Stdout, r.Stderr)
	}
	return r
}

// palisade runs palisade.
func (h *host) palisade(t *testing.T, args ...string) engine.Ran {
	t.Helper()
	return engine.Run(t, "", shared.palisade, h.args(args...)...)
}

// mustPalisade runs palisade, which must succeed.
func (h *host) mustPalisade(t *testing.T, args ...string) engine.Ran {
	t.Helper()
	return wantSuccess(t, args, h.palisade(t, args...))
}

// report is the JSON output of remount and umount.
type report struct {
	Containers []struct {
		ID, Outcome, Error    string
		Virtual, Put, Removed int
		Foreign               []string
	}
}

func (h *host) report(t *testing.T, args ...string) report {
	t.Helper()
	var r report
	out := h.must(t, append([]string{"--json"}, args...)...)
	if err := json.Unmarshal([]byte(out.Stdout), &r); err != nil {
		t.Fatalf("%v in %s", err, out.Stdout)
	}
	return r
}

// hook returns the hook's entry in a container's configuration.
func (h *host) hook(args ...string) *specs.Hooks {
	args = append([]string{"lxcfs-toolkit"}, h.args(append([]string{"--log", h.hookLog(), "hook"}, args...)...)...)
	return &specs.Hooks{CreateRuntime: []specs.Hook{{Path: shared.toolkit, Args: args}}}
}

func (h *host) hookLog() string { return filepath.Join(h.dir, "hook.log") }

// container starts a container with the hook, which is removed after the test.
func (h *host) container(t *testing.T, o ctr.Options) *ctr.Container {
	t.Helper()
	if o.Rootfs == "" {
		o.Rootfs, o.ReadOnly = shared.rootfs, true
	}
	if o.Hooks == nil {
		o.Hooks = h.hook()
	}
	c, err := ctr.Start(t.Context(), t.TempDir(), o)
	if err != nil {
		log, _ := os.ReadFile(h.hookLog()) // may not exist
		t.Fatalf("%v\nhook's log: %s", err, log)
	}
	t.Cleanup(func() {
		if err := c.Remove(); err != nil {
			t.Error(err)
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

// lxcfsMounts returns the mount point of each mount of lxcfs in a process's namespace.
func lxcfsMounts(t *testing.T, pid string) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("/proc", pid, "mounts"))
	if err != nil && !errors.Is(err, syscall.EINVAL) {
		t.Fatal(err)
	}
	var points []string
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 2 && f[2] == "fuse.lxcfs" {
			points = append(points, f[1])
		}
	}
	return points
}

// servedFiles returns the regular files among served, and some in the directories of CPUs and nodes.
func (h *host) servedFiles(t *testing.T) []string {
	t.Helper()
	isDir := func(file string) bool { return file == cpuDir || file == nodeDir }
	files := slices.DeleteFunc(h.served(t), isDir)
	return append(files, cpuDir+"/online", cpuDir+"/offline", nodeDir+"/online", nodeDir+"/has_cpu")
}

// served returns the files that containers get from lxcfs, and the directories of CPUs and nodes.
func (h *host) served(t *testing.T) []string {
	t.Helper()
	var found struct{ Files []string }
	if err := json.Unmarshal([]byte(h.must(t, "check-lxcfs", "--json").Stdout), &found); err != nil {
		t.Fatal(err)
	}
	if len(found.Files) < 10 {
		t.Fatalf("lxcfs serves only %d files: %q", len(found.Files), found.Files)
	}
	for i := range found.Files {
		found.Files[i] = "/" + found.Files[i]
	}
	return found.Files
}

// runFor runs the toolkit and kills it after d.
func (h *host) runFor(t *testing.T, d time.Duration, args ...string) {
	t.Helper()
	cmd := exec.Command(shared.toolkit, h.args(args...)...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(d)
	if err := cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Fatal(err)
	}
	cmd.Wait() // returns the signal
}
