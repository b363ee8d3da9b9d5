//go:build integration

package lxc

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"palisade/test/ctr"
	"palisade/test/engine"
)

// host runs lxcfs as its unit does.
type host struct {
	dir    string
	keeper *ctr.Keeper
	daemon *ctr.Daemon
	// files caches the result of served.
	files      []string
	containers int
}

// newHost returns a host without lxcfs. The test fails if it leaves a mount of lxcfs behind.
func newHost(t *testing.T) *host {
	t.Helper()
	h := &host{dir: openDir(t)}
	t.Cleanup(func() {
		h.stop(t)
		if left := mountsOf(t, "self", "fuse.lxcfs"); len(left) > 0 {
			t.Errorf("mounts of lxcfs remain: %q", left)
			for _, path := range left {
				syscall.Unmount(path, syscall.MNT_DETACH)
			}
		}
	})
	return h
}

// openDir creates a temporary directory that all users can search.
func openDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp(shared.dir, "test-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// start starts lxcfs at its main mount point, and runs the commands of the unit and its drop-in.
func (h *host) start(t *testing.T) {
	t.Helper()
	if h.keeper == nil {
		keeper, err := ctr.NewKeeper(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		h.keeper = keeper
	}
	h.toolkit(t, "prestart")
	d, err := h.keeper.Start(t.Context(), lxcfsProgram, filepath.Dir(mountpoint),
		"--pidfile", "/run/lxcfs.pid", "--runtime-dir", "/run/lxcfs")
	if err != nil {
		t.Fatal(err)
	}
	h.daemon, h.files = d, nil
	h.toolkit(t, "bind", hookDir)
	h.toolkit(t, "remount", "--all")
}

// stop stops lxcfs as systemctl stop does.
func (h *host) stop(t *testing.T) {
	t.Helper()
	if h.daemon == nil {
		return
	}
	if err := h.daemon.Stop(); err != nil {
		t.Error(err)
	}
	h.daemon = nil
	h.keeper.Close()
	h.keeper = nil
	h.toolkit(t, "poststop", "lxcfs.service")
}

// crash kills all processes of lxcfs. This leaves dead mounts unless there is an fd store.
func (h *host) crash(t *testing.T, hasStore bool) {
	t.Helper()
	if !hasStore {
		h.keeper.Drop()
	}
	if err := h.daemon.Crash(); err != nil {
		t.Fatal(err)
	}
	h.daemon = nil
}

// toolkit runs lxcfs-toolkit, which must succeed, and returns its output.
func (h *host) toolkit(t *testing.T, args ...string) string {
	t.Helper()
	r := engine.Run(t, "", toolkit, args...)
	if r.Code != 0 {
		t.Fatalf("lxcfs-toolkit %q: exit code %d\n%s%s", args, r.Code, r.Stdout, r.Stderr)
	}
	return r.Stdout
}

// row is a container in the output of lxcfs-toolkit list.
type row struct {
	ID, Engine  string
	Names       []string
	PID         int
	Alive, Dead []string
}

// list returns the rows of lxcfs-toolkit list.
func (h *host) list(t *testing.T) []row {
	t.Helper()
	var list struct{ Containers []row }
	text := h.toolkit(t, "list", "--json")
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return list.Containers
}

// checkRows checks that list has exactly one row for each of the containers, with its engine and
// name.
func (h *host) checkRows(t *testing.T, want ...*container) {
	t.Helper()
	var got, wanted []string
	for _, r := range h.list(t) {
		got = append(got, r.Engine+" "+r.name())
		if len(r.Dead) > 0 {
			t.Errorf("%s has dead files: %q", r.name(), r.Dead)
		}
	}
	for _, c := range want {
		wanted = append(wanted, c.engine+" "+c.name)
	}
	slices.Sort(got)
	slices.Sort(wanted)
	if !slices.Equal(got, wanted) {
		t.Errorf("list has %q, want %q", got, wanted)
	}
}

// name returns the container's name, or else its id.
func (r row) name() string {
	if len(r.Names) > 0 {
		return r.Names[0]
	}
	return r.ID
}

// served returns the files that containers get from lxcfs, and the CPU directory.
func (h *host) served(t *testing.T) []string {
	t.Helper()
	if h.files != nil {
		return slices.Clone(h.files)
	}
	var found struct{ Files []string }
	text := h.toolkit(t, "check-lxcfs", "--json")
	if err := json.Unmarshal([]byte(text), &found); err != nil {
		t.Fatal(err)
	}
	if len(found.Files) < 10 {
		t.Fatalf("lxcfs serves only %d files: %q", len(found.Files), found.Files)
	}
	for i := range found.Files {
		found.Files[i] = "/" + found.Files[i]
	}
	slices.Sort(found.Files)
	h.files = found.Files
	return slices.Clone(h.files)
}

// mountsOf returns the mount points of each mount of a file system type in a process's namespace.
func mountsOf(t *testing.T, pid, fstype string) (points []string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("/proc", pid, "mounts"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 2 && f[2] == fstype {
			points = append(points, f[1])
		}
	}
	slices.Sort(points)
	return points
}

// runBounded runs a program with a timeout and returns its output.
func runBounded(t *testing.T, args ...string) (string, error) {
	t.Helper()
	seconds := fmt.Sprint(int(bound.Seconds()))
	cmd := exec.Command("timeout", append([]string{"--kill-after=5", seconds}, args...)...)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C"}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// bound is the timeout of each command of LXC. The CPU may be emulated.
const bound = 90 * time.Second
