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

	"palisade/test/ctr"
	"palisade/test/engine"
)

// host is what a test sees as the host: a mount point for lxcfs, and a directory.
type host struct {
	dir, mountpoint string
	daemon          *ctr.Daemon
}

// newHost makes one, without a daemon. At the end of the test the mounts must be those of its beginning.
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
			t.Errorf("mounts before:\n%s\nafter:\n%s", before, after)
		}
	})
	return h
}

// hostMounts are the mount points of this namespace.
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
	d, err := ctr.StartDaemon(t.Context(), shared.lxcfs, filepath.Dir(h.mountpoint))
	if err != nil {
		t.Fatal(err)
	}
	h.daemon = d
}

// stop ends the daemon, if there is one.
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

// args is a command line of the toolkit.
func (h *host) args(args ...string) []string {
	return append([]string{"--mountpoint", h.mountpoint, "--runtime-dir", filepath.Join(h.dir, "run")}, args...)
}

// run runs the toolkit, with a bound.
func (h *host) run(t *testing.T, stdin string, args ...string) engine.Ran {
	t.Helper()
	return engine.Run(t, stdin, shared.toolkit, h.args(args...)...)
}

// must runs the toolkit and wants it to succeed.
func (h *host) must(t *testing.T, args ...string) engine.Ran {
	t.Helper()
	return wantSuccess(t, args, h.run(t, "", args...))
}

// wantSuccess fails the test if a command with these arguments has failed.
func wantSuccess(t *testing.T, args []string, r engine.Ran) engine.Ran {
	t.Helper()
	if r.Code != 0 {
		t.Fatalf("%q: exit code %d\n%s%s", args, r.Code, r.Stdout, r.Stderr)
	}
	return r
}

// palisade runs palisade on this host.
func (h *host) palisade(t *testing.T, args ...string) engine.Ran {
	t.Helper()
	return engine.Run(t, "", shared.palisade, h.args(args...)...)
}

// mustPalisade runs palisade and wants it to succeed.
func (h *host) mustPalisade(t *testing.T, args ...string) engine.Ran {
	t.Helper()
	return wantSuccess(t, args, h.palisade(t, args...))
}

// report is the JSON that remount and umount print.
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

// hook is the hook's entry in a container's configuration.
func (h *host) hook(args ...string) *specs.Hooks {
	args = append([]string{"lxcfs-toolkit"}, h.args(append([]string{"--log", h.hookLog(), "hook"}, args...)...)...)
	return &specs.Hooks{CreateRuntime: []specs.Hook{{Path: shared.toolkit, Args: args}}}
}

func (h *host) hookLog() string { return filepath.Join(h.dir, "hook.log") }

// container starts a container with the hook, which ends with the test.
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
		log, _ := os.ReadFile(h.hookLog()) // it may not be there
		t.Fatalf("%v\nhook's log: %s", err, log)
	}
	t.Cleanup(func() {
		if err := c.Remove(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// inside runs a program in the container and returns what it prints.
func inside(t *testing.T, c *ctr.Container, args ...string) string {
	t.Helper()
	out, err := c.Exec(t.Context(), args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// lxcfsMounts are the mount points of lxcfs that a process sees, one line for each mount.
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

// servedFiles are the regular files among them, with two of the CPU directory.
func (h *host) servedFiles(t *testing.T) []string {
	t.Helper()
	isDir := func(file string) bool { return file == cpuDir }
	return append(slices.DeleteFunc(h.served(t), isDir), cpuDir+"/online", cpuDir+"/offline")
}

// served are the files that containers get from lxcfs, and the CPU directory.
func (h *host) served(t *testing.T) []string {
	t.Helper()
	var found struct{ Files []string }
	if err := json.Unmarshal([]byte(h.must(t, "check-lxcfs", "--json").Stdout), &found); err != nil {
		t.Fatal(err)
	}
	if len(found.Files) < 10 {
		t.Fatalf("only %d files are served: %q", len(found.Files), found.Files)
	}
	for i := range found.Files {
		found.Files[i] = "/" + found.Files[i]
	}
	return found.Files
}

// runFor runs the toolkit and kills it after some time.
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
	cmd.Wait() // it was killed, as was wanted
}
