//go:build integration

package toolkit

import (
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"palisade/test/ctr"
)

// dead returns the dead files of a container in the output of list.
func (h *host) dead(t *testing.T, c *ctr.Container) []string {
	t.Helper()
	return h.deadOf(t, c.ID)
}

// deadOf is dead for a container's id.
func (h *host) deadOf(t *testing.T, id string) []string {
	t.Helper()
	var l struct {
		Containers []struct {
			ID   string
			Dead []string
		}
	}
	if err := json.Unmarshal([]byte(h.must(t, "list", "--json").Stdout), &l); err != nil {
		t.Fatal(err)
	}
	for _, listed := range l.Containers {
		if listed.ID == id {
			return listed.Dead
		}
	}
	t.Fatalf("%s is not listed", id)
	return nil
}

// TestDeadVolume checks that remount mounts a new lxcfs in containers with the directory above its
// mount point as a volume, as in iSulad's manual, but with private propagation.
func TestDeadVolume(t *testing.T) {
	h := newHost(t)
	parent := filepath.Dir(h.mountpoint)
	h.must(t, "prestart")
	t.Cleanup(func() { unmount(t, parent) })
	h.start(t)
	volume := func(destination string) ctr.Options {
		return ctr.Options{Memory: 64 * mib, Mounts: []specs.Mount{
			{Destination: destination, Type: "bind", Source: parent, Options: []string{"rbind", "rprivate"}},
		}}
	}
	plain, readOnly, elsewhere := h.container(t, volume("/var/lib/lxc")), h.container(t, volume("/var/lib/lxc")),
		h.container(t, volume("/data"))
	inside(t, readOnly, "mount", "-o", "remount,bind,ro,noexec", "/var/lib/lxc/lxcfs")
	o := volume("/var/lib/lxc")
	o.UserOffset = 100000
	user := h.container(t, o)
	points := map[*ctr.Container]string{
		plain: "/var/lib/lxc/lxcfs", readOnly: "/var/lib/lxc/lxcfs", elsewhere: "/data/lxcfs", user: "/var/lib/lxc/lxcfs",
	}
	for round := range 2 {
		h.stop(t)
		for c, point := range points {
			if got := h.dead(t, c); !slices.Contains(got, point) {
				t.Errorf("round %d: got dead files %q, want %s", round, got, point)
			}
		}
		h.must(t, "umount", "--all")
		h.start(t)
		if out := h.run(t, "", "doctor", "--json").Stdout; !strings.Contains(out, "cannot be read: /data/lxcfs") {
			t.Errorf("doctor does not report /data/lxcfs: %s", out)
		}
		h.must(t, "remount", "--all")
		for c, point := range points {
			if text := inside(t, c, "cat", point+"/proc/meminfo"); !strings.HasPrefix(text, "MemTotal:          65536 kB") {
				t.Errorf("round %d: %s shows %.40q", round, point, text)
			}
			if got := h.dead(t, c); len(got) != 0 {
				t.Errorf("round %d: got dead files %q, want none", round, got)
			}
			// In a user namespace the mount is locked: it can be covered, but not unmounted.
			if n := strings.Count(inside(t, c, "cat", "/proc/mounts"), " "+point+" fuse.lxcfs "); c != user && n != 1 {
				t.Errorf("round %d: got %d mounts on %s, want 1", round, n, point)
			}
		}
		if out := inside(t, readOnly, "grep", " /var/lib/lxc/lxcfs ", "/proc/mounts"); !strings.Contains(out, "fuse.lxcfs ro,nosuid,nodev,noexec") {
			t.Errorf("round %d: got read-only mount %s", round, out)
		}
		for _, r := range h.report(t, "remount", "--all").Containers {
			if r.Outcome != "unchanged" {
				t.Errorf("round %d: the second remount reports %+v", round, r)
			}
		}
	}
}

// TestVolumesLeft checks that remount leaves the mount of another lxcfs in a volume.
func TestVolumesLeft(t *testing.T) {
	other, h := newHost(t), newHost(t)
	other.start(t)
	h.start(t)
	c := h.container(t, ctr.Options{Mounts: []specs.Mount{
		{Destination: "/var/lib/lxc", Type: "bind", Source: filepath.Dir(other.mountpoint), Options: []string{"rbind", "rprivate"}},
	}})
	before := inside(t, c, "grep", " /var/lib/lxc/lxcfs ", "/proc/self/mountinfo")
	other.kill(t)
	unmount(t, other.mountpoint)
	if r := h.report(t, "remount", "--all"); r.Containers[0].Outcome != "unchanged" {
		t.Errorf("remount reports %+v", r)
	}
	if after := inside(t, c, "grep", " /var/lib/lxc/lxcfs ", "/proc/self/mountinfo"); after != before {
		t.Errorf("got mount %s, want %s", after, before)
	}
}
