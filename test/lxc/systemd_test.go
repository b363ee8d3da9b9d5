//go:build integration

package lxc

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"palisade/test/engine"
)

// newSystemRoot creates a root file system for systemd, and returns the configuration that mounts
// the host's /usr in it.
func newSystemRoot(t *testing.T) (dir string, config []string) {
	t.Helper()
	dir = filepath.Join(openDir(t), "system")
	if out, err := exec.Command("sh", "testdata/root.sh", dir).CombinedOutput(); err != nil {
		t.Fatalf("create the root: %v: %s", err, out)
	}
	return dir, []string{
		"lxc.mount.entry = /usr usr none bind,ro 0 0",
		"lxc.mount.entry = tmpfs run tmpfs mode=755 0 0",
	}
}

// systemdInit is the init of a container with such a root.
const systemdInit = "/usr/lib/systemd/systemd --unit=multi-user.target --log-target=console"

// TestSystemd checks that a container with systemd is one container, whatever cgroups systemd and
// its units create in it.
func TestSystemd(t *testing.T) {
	h := newHost(t)
	h.start(t)
	root, config := newSystemRoot(t)
	c := h.newContainer(t, options{rootfs: root, init: systemdInit, config: config})
	t.Cleanup(func() {
		if t.Failed() {
			jobs, _ := c.exec(t, "systemctl", "list-jobs", "--no-pager") // for the message only
			t.Log(jobs)
		}
	})
	engine.WaitFor(t, "systemd to start all units", func() bool {
		out, err := c.exec(t, "systemctl", "is-active", "multi-user.target")
		return err == nil && strings.TrimSpace(out) == "active"
	})
	// On the host these names would be containers of other engines.
	id := strings.Repeat("0123456789abcdef", 4)
	for _, unit := range []string{"docker-" + id, "libpod-" + id, "lxc.payload.other"} {
		c.inside(t, "systemd-run", "--unit", unit+".service", "--slice", "lxc.slice", "sleep", "1000")
	}
	h.checkRows(t, c)
	h.crash(t, false)
	h.start(t)
	h.checkVirtual(t, c)
	h.checkRows(t, c)
}
