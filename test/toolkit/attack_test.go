//go:build integration

package toolkit

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"palisade/test/ctr"
	"palisade/test/engine"
)

// TestHostileContainers checks that links and mounts that a container creates neither make the
// toolkit change anything outside it, nor make a command hang. The container's own files may be
// lost.
func TestHostileContainers(t *testing.T) {
	h := newHost(t)
	h.start(t)
	victim := filepath.Join(h.dir, "victim") // stands for /etc/passwd
	if err := os.WriteFile(victim, []byte("root\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, script string }{
		{"proc is a link", `mount -t tmpfs t /mnt && ln -s VICTIM /mnt/meminfo && umount -l /proc; rmdir /proc && ln -s /mnt /proc`},
		{"proc is a tmpfs of links", `mount -t tmpfs t /proc && ln -s VICTIM /proc/meminfo && ln -s ../../../../../../VICTIM /proc/stat`},
		{"proc is a directory of the root", `umount -l /proc; ln -s VICTIM /proc/meminfo; ln -s / /proc/pressure`},
		{"sys/devices is a link", `umount -l /sys; mkdir -p /sys; ln -s /proc/1/root/etc /sys/devices`},
		{"proc is bound elsewhere", `mkdir /p; mount --bind /proc/1 /proc`},
		{"meminfo is the victim's", `mount --bind /bin/busybox /proc/meminfo; mount --bind /tmp /proc/pressure`},
		{"mounts come and go", loop(`mount -t tmpfs t /proc; umount /proc`)},
		{"files come and go", loop(`mount --bind /bin/busybox /proc/meminfo; umount /proc/meminfo; umount /proc/stat`)},
		{"directories change places", loop(`mount --move /proc /mnt; ln -s /mnt /proc2; mount --move /mnt /proc`)},
		{"thousands of mounts", fmt.Sprintf(`i=0; while [ $i -lt %d ]; do mount --bind /bin/busybox /proc/uptime; i=$((i+1)); done`, ctr.Repeat(1000, 3000))},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := hostMounts(t)
			c := h.hostile(t, strings.ReplaceAll(tt.script, "VICTIM", victim))
			for range ctr.Repeat(2, 5) {
				for _, command := range []string{"remount", "umount"} {
					started := time.Now()
					r := h.run(t, "", command, "--all", "--timeout", "5s")
					if r.Code != 0 && r.Code != 1 || strings.Contains(r.Stderr, "panic") || time.Since(started) > 20*time.Second {
						t.Errorf("%s: exit code %d after %v: %s%s", command, r.Code, time.Since(started), r.Stdout, r.Stderr)
					}
				}
				if r := h.run(t, "", "list"); r.Code != 0 || !strings.Contains(r.Stdout, c.ID) {
					t.Errorf("list: %+v", r)
				}
			}
			if after := hostMounts(t); after != before {
				t.Errorf("the host's mounts changed: got\n%s\nwant\n%s", after, before)
			}
			if text, err := os.ReadFile(victim); err != nil || string(text) != "root\n" {
				t.Errorf("got victim %q, %v, want it unchanged", text, err)
			}
			if got := lxcfsMounts(t, strconv.Itoa(os.Getpid())); len(got) != 1 {
				t.Errorf("got mounts of lxcfs on %q, want one", got)
			}
		})
	}
}

// TestEndlessTable checks that a container whose mount table exceeds the limit is listed and
// reported, and does not affect the others.
func TestEndlessTable(t *testing.T) {
	h := newHost(t)
	h.start(t)
	other := h.container(t, ctr.Options{})
	// The kernel writes each backslash in a path as \134, in the mount point and in the root: 30 kB
	// per line.
	const script = `d=/tmp; n=$(printf '%250s' '' | tr ' ' '\\'); for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do d="$d/$n"; done
mkdir -p "$d" && i=0; while [ $i -lt 700 ]; do mount --bind "$d" "$d" || exit 1; i=$((i+1)); done`
	hostile := h.hostile(t, script)
	const message = "mount table is larger than 16 MiB"
	if r := h.run(t, "", "list"); r.Code != 0 || !strings.Contains(r.Stdout, hostile.ID) || !strings.Contains(r.Stderr, message) {
		t.Errorf("list: %+v", r)
	}
	if r := h.run(t, "", "umount", "--all"); r.Code != 1 || !strings.Contains(r.Stdout+r.Stderr, message) {
		t.Errorf("umount: %+v", r)
	}
	if left := lxcfsMounts(t, strconv.Itoa(other.PID)); len(left) != 0 {
		t.Errorf("the other container has %q", left)
	}
}

// TestManyPlaces checks umount in a container with more mounts of a file of lxcfs than the toolkit
// may have open files.
func TestManyPlaces(t *testing.T) {
	h := newHost(t)
	h.start(t)
	const script = `for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16; do sleep 1000 & done
for f in /proc/[0-9]*/*; do if [ -f $f ] && [ ! -L $f ]; then mount --bind /proc/uptime $f || exit 1; fi; done`
	c := h.hostile(t, script)
	if n := len(lxcfsMounts(t, strconv.Itoa(c.PID))); n < 600 {
		t.Fatalf("got only %d mounts of lxcfs", n)
	}
	args := append([]string{"-c", `ulimit -n 400; exec "$@"`, "sh", shared.toolkit}, h.args("umount", "--all")...)
	if r := engine.Run(t, "", "sh", args...); r.Code != 0 {
		t.Errorf("umount: %+v", r)
	}
	if left := lxcfsMounts(t, strconv.Itoa(c.PID)); len(left) != 0 {
		t.Errorf("%d mounts of lxcfs remain", len(left))
	}
}

func loop(script string) string { return "touch /done; while :; do " + script + "; done 2>/dev/null" }

// hostile starts a container with its own root file system, and waits until it has run the script.
func (h *host) hostile(t *testing.T, script string) *ctr.Container {
	t.Helper()
	rootfs := filepath.Join(t.TempDir(), "rootfs")
	if err := ctr.NewRootfs(t.Context(), rootfs); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(rootfs, "mnt"), 0o755); err != nil {
		t.Fatal(err)
	}
	c := h.container(t, ctr.Options{Rootfs: rootfs, Args: []string{"/bin/sh", "-c", script + "; touch /done; sleep 1000"}})
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if _, err := os.Lstat(filepath.Join(rootfs, "done")); err == nil {
			return c
		}
	}
	t.Fatalf("timed out waiting for the script %s", script)
	return nil
}

// TestHostileRoot checks that nothing is mounted outside if proc or sys in the root file system is
// a link.
func TestHostileRoot(t *testing.T) {
	h := newHost(t)
	h.start(t)
	rootfs := filepath.Join(h.dir, "rootfs")
	if err := ctr.NewRootfs(t.Context(), rootfs); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, link, to string }{
		{"sys", "sys", "/tmp"}, {"proc", "proc", "/tmp"}, {"outside", "proc", "../../../../../../../etc"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(rootfs, tt.link)
			if err := os.RemoveAll(path); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(tt.to, path); err != nil {
				t.Fatal(err)
			}
			before := hostMounts(t)
			c, err := ctr.Start(t.Context(), t.TempDir(), ctr.Options{Rootfs: rootfs, Hooks: h.hook()})
			if err == nil {
				err = c.Remove()
				if err != nil {
					t.Error(err)
				}
			}
			if after := hostMounts(t); after != before {
				t.Errorf("the host's mounts changed: got\n%s\nwant\n%s", after, before)
			}
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			if err := os.Mkdir(path, 0o755); err != nil {
				t.Fatal(err)
			}
		})
	}
}
