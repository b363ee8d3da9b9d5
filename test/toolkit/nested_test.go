//go:build integration

package toolkit

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"palisade/test/ctr"
	"palisade/test/engine"
)

// nestedPrograms mount a new procfs or sysfs in a nested user namespace.
var nestedPrograms = map[string][]string{
	"unshare":     {"unshare", "-Urpf", "--mount-proc", "true"},
	"bubblewrap":  {"bwrap", "--unshare-all", "--ro-bind", "/", "/", "--proc", "/proc", "true"},
	"fresh sysfs": {"unshare", "-Urnm", "mount", "-t", "sysfs", "-o", "ro", "sysfs", "/tmp"},
}

// checkNested checks that each of nestedPrograms succeeds in the container, or fails.
func checkNested(t *testing.T, c *ctr.Container, when string, want bool) {
	t.Helper()
	for name, args := range nestedPrograms {
		if out, err := c.Exec(t.Context(), args...); (err == nil) != want {
			t.Errorf("%s: %s: %s%v", when, name, out, err)
		}
	}
}

// uncovered returns the mount points below /dev/.palisade.
func uncovered(t *testing.T, c *ctr.Container) (points []string) {
	t.Helper()
	for line := range strings.Lines(mountinfo(t, c)) {
		if f := strings.Fields(line); strings.HasPrefix(f[4], "/dev/.palisade/") {
			points = append(points, f[4])
		}
	}
	return points
}

// TestNestedProc checks that user namespaces in containers without masked paths can mount a procfs
// and a sysfs, as rootless engines and sandboxes do.
func TestNestedProc(t *testing.T) {
	h := newHost(t)
	h.start(t)
	forEachRuntime(t, func(t *testing.T, runtime string) {
		for name, offset := range map[string]uint32{"plain": 0, "user namespace": 100000} {
			t.Run(name, func(t *testing.T) {
				c := h.container(t, ctr.Options{Runtime: runtime, UserOffset: offset})
				both := []string{"/dev/.palisade/proc", "/dev/.palisade/sys"}
				check := func(when string, want []string) {
					t.Helper()
					checkNested(t, c, when, true)
					if got := uncovered(t, c); !slices.Equal(got, want) {
						t.Errorf("%s: got mounts %q, want %q", when, got, want)
					}
				}
				outcome := func(command, want string) {
					t.Helper()
					if r := h.report(t, command, "--container-id", c.ID).Containers[0]; r.Outcome != want {
						t.Errorf("%s reports %+v, want %s", command, r, want)
					}
				}
				check("after the start", both)
				if got := inside(t, c, "stat", "-c", "%u %a", "/dev/.palisade"); got != "0 755\n" {
					t.Errorf("owner and mode of /dev/.palisade: %q", got)
				}
				outcome("remount", "unchanged")
				if out := inside(t, c, "ls", "/dev/.palisade/proc", "/dev/.palisade/sys"); strings.Count(out, "\n") != 3 {
					t.Errorf("the covered mounts can be reached: %q", out)
				}
				inside(t, c, "umount", "/dev/.palisade") // as if the hook had been killed
				h.must(t, "remount", "--all")
				check("after the cover was unmounted", both)
				if out := inside(t, c, "ls", "/dev/.palisade/proc"); out != "" {
					t.Errorf("the covered mounts can be reached after remount: %q", out)
				}
				inside(t, c, "umount", "/dev/.palisade", "/dev/.palisade/proc")
				outcome("remount", "done")
				check("after one was unmounted", both)
				outcome("umount", "done")
				check("after umount", nil)
				if out := inside(t, c, "ls", "-A", "/dev"); strings.Contains(out, ".palisade") {
					t.Errorf("the directory remains after umount: %q", out)
				}
				outcome("umount", "unchanged")
				outcome("remount", "done")
				check("after remount", both)
			})
		}
	})
}

// TestNestedProcAcrossRestart checks the second procfs and sysfs after the files of a dead lxcfs
// were replaced.
func TestNestedProcAcrossRestart(t *testing.T) {
	h := newHost(t)
	h.start(t)
	c := h.container(t, ctr.Options{})
	h.kill(t)
	unmount(t, h.mountpoint)
	h.start(t)
	h.must(t, "remount", "--all")
	checkNested(t, c, "after remount", true)
	if got := uncovered(t, c); len(got) != 2 {
		t.Errorf("got mounts %q, want 2", got)
	}
}

// TestNestedProcMasked checks that user namespaces in containers with masked or read-only paths,
// which runtimes set up after the hook, cannot mount a procfs or sysfs without these.
func TestNestedProcMasked(t *testing.T) {
	h := newHost(t)
	h.start(t)
	forEachRuntime(t, func(t *testing.T, runtime string) {
		for name, o := range map[string]ctr.Options{
			"masked":    {Masked: []string{"/proc/keys", "/sys/firmware"}},
			"read-only": {ReadOnlyPaths: []string{"/proc/sys", "/sys/fs"}},
		} {
			t.Run(name, func(t *testing.T) {
				o.Runtime = runtime
				c := h.container(t, o)
				for _, command := range []string{"", "remount"} {
					if command != "" {
						h.must(t, command, "--all")
					}
					checkNested(t, c, command, false)
					if got := uncovered(t, c); len(got) != 0 {
						t.Errorf("%s: got mounts %q, want none", command, got)
					}
				}
			})
		}
		t.Run("read-only sysfs", func(t *testing.T) {
			c := h.container(t, ctr.Options{Runtime: runtime})
			args := []string{"unshare", "-Urnm", "mount", "-t", "sysfs", "sysfs", "/tmp"}
			if _, err := c.Exec(t.Context(), args...); err == nil {
				t.Error("a writable sysfs can be mounted")
			}
		})
	})
}

// TestNestedProcLeft checks containers that must not get a second procfs: one with its own mounts
// on files of proc and sys, which would be uncovered there, one that already has a second procfs
// and sysfs, and one with a symbolic link at the path.
func TestNestedProcLeft(t *testing.T) {
	h := newHost(t)
	h.start(t)
	mask := func(point string) specs.Mount {
		return specs.Mount{Destination: point, Type: "bind", Source: shared.toolkit, Options: []string{"bind"}}
	}
	masked := h.container(t, ctr.Options{Mounts: []specs.Mount{mask("/proc/uptime"), mask("/sys/kernel/uevent_seqnum")}})
	checkNested(t, masked, "masked", false)
	if got := uncovered(t, masked); len(got) != 0 {
		t.Errorf("masked: got mounts %q, want none", got)
	}

	lxc := h.container(t, ctr.Options{Mounts: []specs.Mount{
		{Destination: "/dev/.lxc/proc", Type: "proc", Source: "proc"},
		{Destination: "/dev/.lxc/sys", Type: "sysfs", Source: "sys"},
	}})
	for _, command := range []string{"remount", "umount"} {
		checkNested(t, lxc, "with LXC's own", true)
		if got := uncovered(t, lxc); len(got) != 0 {
			t.Errorf("with LXC's own: got mounts %q, want none", got)
		}
		h.must(t, command, "--all")
	}
	if n := strings.Count(mountinfo(t, lxc), " /dev/.lxc/"); n != 2 {
		t.Errorf("got %d of the container's own mounts after umount, want 2", n)
	}

	own := h.container(t, ctr.Options{})
	h.must(t, "umount", "--all")
	inside(t, own, "mkdir", "-p", "/dev/.palisade/proc")
	inside(t, own, "mount", "-t", "tmpfs", "own", "/dev/.palisade/proc")
	for _, command := range []string{"remount", "umount"} {
		h.must(t, command, "--all")
		if !strings.Contains(mountinfo(t, own), " - tmpfs own ") {
			t.Errorf("%s unmounts a mount of the container's own", command)
		}
	}

	hostile := h.container(t, ctr.Options{Hooks: new(specs.Hooks)})
	inside(t, hostile, "ln", "-s", "/tmp", "/dev/.palisade")
	h.must(t, "remount", "--all")
	if out := inside(t, hostile, "ls", "-A", "/tmp"); out != "" || len(uncovered(t, hostile)) != 0 {
		t.Errorf("a symbolic link was followed: %q, %q", out, uncovered(t, hostile))
	}
	checkVirtual(t, h, hostile, hostMemory(t))
}

// TestNestedProcByUnit checks that the capabilities of lxcfs.service, which runs remount, suffice
// for a second procfs and sysfs in a container with a user namespace.
func TestNestedProcByUnit(t *testing.T) {
	unit, err := os.ReadFile("../../rpm/lxcfs.service")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(unit), "\nCapabilityBoundingSet=")
	set := "-all"
	for name := range strings.FieldsSeq(rest[:strings.Index(rest, "\n")]) {
		set += ",+" + strings.ToLower(strings.TrimPrefix(name, "CAP_"))
	}
	h := newHost(t)
	h.start(t)
	c := h.container(t, ctr.Options{UserOffset: 100000, Hooks: new(specs.Hooks)})
	args := append([]string{"--bounding-set", set, "--no-new-privs", shared.toolkit},
		h.args("remount", "--all")...)
	if r := engine.Run(t, "", "setpriv", args...); r.Code != 0 {
		t.Fatalf("remount: exit code %d: %s", r.Code, r.Stderr)
	}
	both := []string{"/dev/.palisade/proc", "/dev/.palisade/sys"}
	if got := uncovered(t, c); !slices.Equal(got, both) {
		t.Errorf("got mounts %q, want %q", got, both)
	}
}
