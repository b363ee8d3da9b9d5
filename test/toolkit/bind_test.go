//go:build integration

package toolkit

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"palisade/test/ctr"
)

// mustServe checks that lxcfs serves on dir.
func mustServe(t *testing.T, dir string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "proc/meminfo"))
	if err != nil || !strings.HasPrefix(string(text), "MemTotal:") {
		t.Errorf("%s serves %.40q, %v", dir, text, err)
	}
}

// TestBind checks bind, which mounts lxcfs on other directories, and bind --undo.
func TestBind(t *testing.T) {
	h, other := newHost(t), newHost(t)
	other.start(t)
	dir := func(name string) string { return filepath.Join(h.dir, name) }
	fails := func(message string, args ...string) {
		t.Helper()
		if r := h.run(t, "", args...); r.Code != 1 || !strings.Contains(r.Stderr, message) {
			t.Errorf("%q: %+v, want exit code 1 and %q", args, r, message)
		}
	}
	fails("not mounted", "bind", "--timeout", "0s", dir("a"))
	h.start(t)
	before := hostMounts(t)
	h.must(t, "bind", dir("a"), dir("some/b"))
	mustServe(t, dir("a"))
	mustServe(t, dir("some/b"))
	once := hostMounts(t)
	h.must(t, "bind", dir("a"), dir("some/b"))
	if again := hostMounts(t); again != once {
		t.Errorf("mounts changed: got\n%s\nwant\n%s", again, once)
	}

	if err := os.Mkdir(dir("tmpfs"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc", dir("link")); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", dir("tmpfs"), "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	fails("in use: tmpfs (tmpfs)", "bind", dir("tmpfs"), dir("c"))
	mustServe(t, dir("c"))
	fails("another lxcfs", "bind", other.mountpoint)
	fails("link", "bind", dir("link"))
	mustServe(t, other.mountpoint)

	fails("in use", "bind", "--undo", dir("tmpfs"), dir("c"))
	fails("another lxcfs", "bind", "--undo", other.mountpoint)
	fails("itself", "bind", "--undo", h.mountpoint)
	h.must(t, "bind", "--undo", dir("a"), dir("some/b"), dir("none"))
	unmount(t, dir("tmpfs"))
	if after := hostMounts(t); after != before {
		t.Errorf("mounts changed: got\n%s\nwant\n%s", after, before)
	}
	h.must(t, "bind", dir("a"))
	h.stop(t) // lxcfs unmounts it
}

// TestBindDead checks that after a crash of an lxcfs that is mounted on two directories prestart
// unmounts both, or else bind replaces the dead one, and containers get the files of the new lxcfs.
func TestBindDead(t *testing.T) {
	h := newHost(t)
	second := filepath.Join(h.dir, "second")
	h.start(t)
	h.must(t, "bind", second)
	c := h.container(t, ctr.Options{Memory: 64 * mib})
	h.kill(t)
	h.must(t, "prestart")
	t.Cleanup(func() { unmount(t, filepath.Dir(h.mountpoint)) })
	if after := hostMounts(t); strings.Contains(after, "fuse.lxcfs") {
		t.Errorf("mounts of lxcfs remain:\n%s", after)
	}
	h.start(t)
	h.must(t, "remount", "--all")
	h.must(t, "bind", second)
	checkVirtual(t, h, c, 64*mib)

	h.kill(t)
	unmount(t, h.mountpoint)
	h.start(t)
	h.must(t, "remount", "--all") // although a dead lxcfs with these files is on the host
	checkVirtual(t, h, c, 64*mib)
	h.must(t, "bind", second)
	mustServe(t, second)
	h.must(t, "poststop", "lxcfs.service")
	if after := hostMounts(t); strings.Contains(after, "fuse.lxcfs") {
		t.Errorf("poststop leaves\n%s", after)
	}
	h.stop(t)
}

// TestPrestartBelowShared checks that prestart mounts nothing on a host with shared mounts, as of
// systemd, and that a container with a slave mount of the directory gets the next lxcfs.
func TestPrestartBelowShared(t *testing.T) {
	h := newHost(t)
	if err := syscall.Mount("tmpfs", h.dir, "tmpfs", 0, "mode=755"); err != nil {
		t.Fatal(err)
	}
	defer unmount(t, h.dir)
	if err := syscall.Mount("", h.dir, "", syscall.MS_SHARED, ""); err != nil {
		t.Fatal(err)
	}
	before := hostMounts(t)
	h.must(t, "prestart")
	if after := hostMounts(t); after != before {
		t.Errorf("mounts changed: got\n%s\nwant\n%s", after, before)
	}
	h.start(t)
	c := h.container(t, ctr.Options{Memory: 64 * mib, Mounts: []specs.Mount{{
		Destination: "/var/lib/lxc", Type: "bind",
		Source: filepath.Dir(h.mountpoint), Options: []string{"rbind", "rslave"},
	}}})
	h.stop(t)
	h.start(t)
	text := inside(t, c, "cat", "/var/lib/lxc/lxcfs/proc/meminfo")
	if !strings.Contains(text, " 65536 kB") {
		t.Errorf("the new lxcfs shows %.40q", text)
	}
	h.must(t, "prestart", "--undo")
	h.stop(t)
}
