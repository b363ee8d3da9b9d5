//go:build integration

package lxc

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"palisade/test/engine"
)

const commonHooks = "/usr/share/lxc/config/common.conf.d/00-lxcfs.conf"

// onlyHook removes all lines of commonHooks except that with the given key, until the test ends.
func onlyHook(t *testing.T, key string) {
	t.Helper()
	text, err := os.ReadFile(commonHooks)
	if err != nil {
		t.Fatal(err)
	}
	var kept []string
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, key) {
			kept = append(kept, line)
		}
	}
	if len(kept) != 1 {
		t.Fatalf("got %d lines with %s, want one: %q", len(kept), key, text)
	}
	if err := os.WriteFile(commonHooks, []byte(kept[0]), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.WriteFile(commonHooks, text, 0o644); err != nil {
			t.Error(err)
		}
	})
}

// TestHooks checks containers with each of the hooks and with both.
func TestHooks(t *testing.T) {
	for name, key := range map[string]string{
		"mount": "lxc.hook.mount", "start-host": "lxc.hook.start-host", "both": "",
	} {
		t.Run(name, func(t *testing.T) {
			if key != "" {
				onlyHook(t, key)
			}
			h := newHost(t)
			h.start(t)
			c := h.newContainer(t, options{init: "/sbin/init"})
			h.checkVirtual(t, c)
			h.checkRows(t, c)
			checkProcesses(t, c)
			if key != "lxc.hook.mount" {
				h.checkPrivate(t, c)
			}
		})
	}
}

// checkPrivate checks that two containers can lock and lease all files: each has its own inodes.
func (h *host) checkPrivate(t *testing.T, c *container) {
	t.Helper()
	isDir := func(file string) bool { return strings.HasPrefix(file, "/sys/") }
	files := append(slices.DeleteFunc(h.served(t), isDir), cpuDir+"/online", "/sys/devices/system/node/online")
	for _, c := range []*container{c, h.newContainer(t, options{})} {
		hold := "/bin/load hold 1 " + strings.Join(files, " ")
		c.inside(t, "sh", "-c", hold+" </dev/null >/tmp/held 2>&1 &")
		var text string
		engine.WaitFor(t, "the locks to be held", func() bool {
			text = c.read(t, "/tmp/held")
			return strings.Contains(text, "held\n")
		})
		if strings.Count(text, ": flock <nil>, lock <nil>, lease <nil>\n") != len(files) {
			t.Errorf("%s cannot lock its files: %s", c.name, text)
		}
	}
}

// checkProcesses checks that the values in meminfo, from which free(1) computes its own, are
// consistent.
func checkProcesses(t *testing.T, c *container) {
	t.Helper()
	const script = "/^(MemTotal|MemFree|MemAvailable):/ {print $2}"
	var total, free, available int
	text := c.inside(t, "awk", script, "/proc/meminfo")
	n, err := fmt.Sscan(text, &total, &free, &available)
	if err != nil || n != 3 || total != 512<<10 || free == 0 || free > total || available > total {
		t.Errorf("%s has %q kB: %v", c.name, text, err)
	}
}
