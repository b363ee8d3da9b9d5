//go:build integration

package lxc

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"palisade/test/ctr"
	"palisade/test/engine"
)

const (
	outerMemory = 64 * mib
	innerMemory = 32 * mib
)

// TestNested checks containers of LXC and of runc in a container of LXC, with the tree of lxcfs
// that the mount hook binds for them, also after a crash without fd store.
func TestNested(t *testing.T) {
	h := newHost(t)
	h.start(t)
	root, config := newSystemRoot(t)
	for _, dir := range []string{"srv", "inner"} {
		if err := os.Mkdir(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	config = append(config, "lxc.include = /usr/share/lxc/config/nesting.conf", "lxc.mount.auto =",
		"lxc.mount.auto = proc:rw sys:rw cgroup:rw:force", "lxc.cap.drop =",
		"lxc.cgroup.devices.allow = a",
		"lxc.mount.entry = "+shared.rootfs+" inner none bind 0 0",
		"lxc.mount.entry = /dev/fuse dev/fuse none bind,create=file 0 0")
	outer := h.newContainer(t, options{rootfs: root, config: config, init: "/bin/sleep 1000000"})
	startInner(t, outer, root)
	check := func() {
		t.Helper()
		h.checkVirtual(t, outer)
		h.checkRows(t, outer)
		for _, args := range [][]string{
			{"lxc-attach", "-P", "/srv", "-n", "inner", "--"}, {"runc", "exec", "inner"},
		} {
			out, err := outer.exec(t, append(args, "/bin/head", "-n", "1", "/proc/meminfo")...)
			if want := fmt.Sprintf("MemTotal: %14d kB\n", innerMemory/1024); err != nil || out != want {
				t.Errorf("%s in %s: %v: %q, want %q", args[0], outer.name, err, out, want)
			}
			for _, file := range []string{"/proc/uptime", "/proc/stat", cpuDir + "/online"} {
				if out, err := outer.exec(t, append(args, "/bin/cat", file)...); err != nil {
					t.Errorf("%s in %s: %v: %s", args[0], outer.name, err, out)
				}
			}
		}
		if text, err := outer.exec(t, "head", "-n", "1", hookDir+"/proc/meminfo"); err != nil {
			t.Errorf("the tree of lxcfs in %s: %v: %s", outer.name, err, text)
		}
	}
	check()
	h.crash(t, false)
	h.start(t)
	check()
	// The container can start others with the restored tree.
	stopInner(t, outer)
	startInner(t, outer, root)
	check()
	stopInner(t, outer)
}

// startInner starts a container of LXC and one of runc in the outer container.
func startInner(t *testing.T, outer *container, root string) {
	t.Helper()
	limit := fmt.Sprintf("lxc.cgroup.memory.limit_in_bytes = %d", innerMemory)
	if ctr.OnV2() {
		limit = fmt.Sprintf("lxc.cgroup2.memory.max = %d", innerMemory)
	}
	lines := []string{
		"lxc.include = /usr/share/lxc/config/common.conf", "lxc.rootfs.path = dir:/inner",
		"lxc.uts.name = inner", "lxc.apparmor.profile = unconfined", "lxc.net.0.type = empty",
		"lxc.init.cmd = /bin/sleep 1000000", limit, "",
	}
	inner := filepath.Join(root, "srv/inner")
	if err := os.MkdirAll(inner, 0o755); err != nil {
		t.Fatal(err)
	}
	text := []byte(strings.Join(lines, "\n"))
	if err := os.WriteFile(filepath.Join(inner, "config"), text, 0o644); err != nil {
		t.Fatal(err)
	}
	outer.inside(t, "mkdir", "-p", "/run/lock")
	out, err := outer.exec(t, "lxc-start", "-P", "/srv", "-n", "inner", "-o", "/srv/log", "-l", "WARN")
	if err != nil {
		log, _ := os.ReadFile(filepath.Join(root, "srv/log")) // for the message only
		t.Fatalf("lxc-start in %s: %v: %s\n%s", outer.name, err, out, log)
	}
	bundle := filepath.Join(root, "srv/bundle")
	if err := os.MkdirAll(bundle, 0o755); err != nil {
		t.Fatal(err)
	}
	o := ctr.Options{Rootfs: "/inner", ReadOnly: true, Memory: innerMemory, Lxcfs: hookDir}
	if err := o.WriteConfig(bundle, "inner"); err != nil {
		t.Fatal(err)
	}
	const run = "runc run --detach --bundle /srv/bundle inner </dev/null >/srv/runc.log 2>&1"
	outer.inside(t, "sh", "-c", run+" || { cat /srv/runc.log; exit 1; }")
	engine.WaitFor(t, "the inner containers to run", func() bool {
		out, err := outer.exec(t, "lxc-info", "-P", "/srv", "-n", "inner", "-p", "-H")
		if err != nil {
			return false
		}
		_, err = strconv.Atoi(strings.TrimSpace(out))
		return err == nil
	})
}

// stopInner stops the containers of startInner.
func stopInner(t *testing.T, outer *container) {
	t.Helper()
	outer.inside(t, "lxc-stop", "-P", "/srv", "-n", "inner", "-k")
	outer.inside(t, "runc", "delete", "--force", "inner")
}
