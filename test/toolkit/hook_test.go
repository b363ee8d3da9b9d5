//go:build integration

package toolkit

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"palisade/test/ctr"
)

const mib = 1 << 20

// forEachRuntime runs a test with all runtimes.
func forEachRuntime(t *testing.T, test func(t *testing.T, runtime string)) {
	for _, name := range []string{"runc", "crun"} {
		t.Run(name, func(t *testing.T) { test(t, name) })
	}
}

// checkVirtual checks that the container has exactly one mount of each served file, which shows its
// own values.
func checkVirtual(t *testing.T, h *host, c *ctr.Container, memory int) {
	t.Helper()
	got := lxcfsMounts(t, strconv.Itoa(c.PID))
	slices.Sort(got)
	if want := h.served(t); !slices.Equal(got, want) {
		t.Errorf("got mounts of lxcfs\n%q, want\n%q", got, want)
	}
	want := fmt.Sprintf("MemTotal: %14d kB", memory/1024)
	if text := inside(t, c, "cat", "/proc/meminfo"); !strings.HasPrefix(text, want) {
		t.Errorf("meminfo begins with %.40q, want %q", text, want)
	}
}

// TestHook checks that with the hook all files are virtual from the start of the init.
func TestHook(t *testing.T) {
	h := newHost(t)
	h.start(t)
	static := filepath.Join(h.dir, "static") // an image with a single program
	for _, dir := range []string{"dev", "proc", "sys", "tmp"} {
		if err := os.MkdirAll(filepath.Join(static, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	program, err := os.ReadFile(filepath.Join(shared.rootfs, "bin/load"))
	if err == nil {
		err = os.WriteFile(filepath.Join(static, "load"), program, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	first := []string{"/bin/sh", "-c", "cat /proc/meminfo /proc/partitions /sys/devices/system/cpu/online; exec sleep 1000"}
	forEachRuntime(t, func(t *testing.T, runtime string) {
		for _, tt := range []struct {
			name string
			o    ctr.Options
		}{
			{"plain", ctr.Options{Args: first}},
			{"user namespace", ctr.Options{Args: first, UserOffset: 100000}},
			{"writable root", ctr.Options{Args: first, Rootfs: shared.rootfs}},
		} {
			t.Run(tt.name, func(t *testing.T) {
				tt.o.Runtime, tt.o.Memory, tt.o.CPUs = runtime, 64*mib, "0"
				c := h.container(t, tt.o)
				checkVirtual(t, h, c, 64*mib)
				var log string
				for deadline := time.Now().Add(time.Minute); !strings.HasSuffix(log, "\n0\n") && time.Now().Before(deadline); {
					log = c.Log()
				}
				if !strings.HasPrefix(log, "MemTotal:          65536 kB") || !strings.HasSuffix(log, "\n0\n") {
					t.Errorf("the init read %q", log)
				}
			})
		}
		t.Run("static program", func(t *testing.T) {
			c := h.container(t, ctr.Options{Runtime: runtime, Rootfs: static, ReadOnly: true, Memory: 64 * mib,
				Args: []string{"/load", "check", "1000", "1", "/proc/uptime"}})
			got := lxcfsMounts(t, strconv.Itoa(c.PID))
			slices.Sort(got)
			if want := h.served(t); !slices.Equal(got, want) {
				t.Errorf("got mounts of lxcfs %q, want %q", got, want)
			}
		})
	})
}

// TestHookLeavesUsersMounts checks that a user's mount on /proc/meminfo is kept.
func TestHookLeavesUsersMounts(t *testing.T) {
	h := newHost(t)
	h.start(t)
	own := filepath.Join(h.dir, "meminfo")
	if err := os.WriteFile(own, []byte("the user's\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	c := h.container(t, ctr.Options{Mounts: []specs.Mount{
		{Destination: "/proc/meminfo", Type: "bind", Source: own, Options: []string{"bind"}},
	}})
	check := func(when string) {
		t.Helper()
		if text := inside(t, c, "cat", "/proc/meminfo"); text != "the user's\n" {
			t.Errorf("%s: got meminfo %q, want the user's", when, text)
		}
	}
	check("after the start")
	if n := len(lxcfsMounts(t, strconv.Itoa(c.PID))); n != len(h.served(t))-1 {
		t.Errorf("got %d mounts of lxcfs, want %d", n, len(h.served(t))-1)
	}
	log, err := os.ReadFile(h.hookLog())
	if err != nil || !strings.Contains(string(log), "level=WARN") || !strings.Contains(string(log), "proc/meminfo") {
		t.Errorf("the hook does not warn: %s %v", log, err)
	}
	if r := h.report(t, "remount", "--all"); len(r.Containers) != 1 || !slices.Equal(r.Containers[0].Foreign, []string{"proc/meminfo"}) {
		t.Errorf("remount reports %+v", r)
	}
	check("after remount")
	h.must(t, "umount", "--all")
	check("after umount")
}

// TestHookWithoutLxcfs checks that without lxcfs containers start with the hook, and do not start
// with hook --strict.
func TestHookWithoutLxcfs(t *testing.T) {
	h := newHost(t)
	c := h.container(t, ctr.Options{})
	if got := lxcfsMounts(t, strconv.Itoa(c.PID)); len(got) != 0 {
		t.Errorf("got mounts of lxcfs %q, want none", got)
	}
	_, err := ctr.Start(t.Context(), t.TempDir(), ctr.Options{Rootfs: shared.rootfs, ReadOnly: true, Hooks: h.hook("--strict")})
	if err == nil || !strings.Contains(err.Error(), "lxcfs is not healthy") {
		t.Errorf("with --strict: got error %v, want lxcfs is not healthy", err)
	}
	h.start(t)
	if r := h.report(t, "remount", "--container-id", c.ID); r.Containers[0].Outcome != "done" {
		t.Errorf("remount reports %+v", r)
	}
	checkVirtual(t, h, c, hostMemory(t))
}

// hostMemory returns the machine's memory in bytes, which a container without a limit sees.
func hostMemory(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		t.Fatal(err)
	}
	kb, err := strconv.Atoi(strings.Fields(string(text))[1])
	if err != nil {
		t.Fatal(err)
	}
	return kb * 1024
}

// TestManualForm checks a container as in iSulad's manual, with the hook and a slave mount of the
// directory above the mount point: it sees later mounts there, and the host sees none of its
// mounts.
func TestManualForm(t *testing.T) {
	h := newHost(t)
	parent := filepath.Dir(h.mountpoint)
	h.must(t, "prestart")
	t.Cleanup(func() { unmount(t, parent) })
	h.start(t)
	before := hostMounts(t)
	c := h.container(t, ctr.Options{Memory: 64 * mib, Mounts: []specs.Mount{
		{Destination: "/var/lib/lxc", Type: "bind", Source: parent, Options: []string{"rbind", "rslave"}},
	}})
	out := inside(t, c, "sh", "-c", "mount | grep lxcfs")
	for _, point := range append(h.served(t), "/var/lib/lxc/lxcfs") {
		if !strings.Contains(out, "lxcfs on "+point+" type fuse.lxcfs (rw,nosuid,nodev") {
			t.Errorf("%s is not in %s", point, out)
		}
	}
	if after := hostMounts(t); after != before {
		t.Errorf("the host's mounts changed: got\n%s\nwant\n%s", after, before)
	}
	h.stop(t)
	h.start(t)
	if text := inside(t, c, "cat", "/var/lib/lxc/lxcfs/proc/meminfo"); !strings.Contains(text, " 65536 kB") {
		t.Errorf("the new lxcfs shows %.40q", text)
	}
	h.must(t, "remount", "--all")
	if n := strings.Count(inside(t, c, "mount"), "lxcfs on /"); n != len(h.served(t))+1 {
		t.Errorf("%d mounts of lxcfs, want %d", n, len(h.served(t))+1)
	}
}
