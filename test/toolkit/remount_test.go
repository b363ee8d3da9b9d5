//go:build integration

package toolkit

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"palisade/test/ctr"
)

// unmount unmounts path in this namespace.
func unmount(t *testing.T, path string) {
	t.Helper()
	if err := syscall.Unmount(path, syscall.MNT_DETACH); err != nil {
		t.Error(err)
	}
}

// TestDegradation checks that after a crash of lxcfs containers have the host's files after umount,
// and their own again after remount with a new lxcfs.
func TestDegradation(t *testing.T) {
	h := newHost(t)
	h.start(t)
	const memory = 64 * mib
	var containers []*ctr.Container
	for range ctr.Repeat(6, 20) {
		containers = append(containers, h.container(t, ctr.Options{Memory: memory}))
	}
	served := len(h.served(t))
	h.kill(t)
	r := h.report(t, "umount", "--all")
	if len(r.Containers) != len(containers) {
		t.Errorf("got %d containers in the report, want %d: %+v", len(r.Containers), len(containers), r)
	}
	for _, c := range r.Containers {
		if c.Outcome != "done" || c.Removed != served {
			t.Errorf("umount reports %+v", c)
		}
	}
	total, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range containers {
		text := inside(t, c, "sh", "-c", "head -n 1 /proc/meminfo; cat /proc/stat /proc/uptime /proc/partitions >/dev/null")
		if !strings.HasPrefix(string(total), text) {
			t.Errorf("a container reads %q after umount, want the host's", text)
		}
		if got := lxcfsMounts(t, strconv.Itoa(c.PID)); len(got) > 0 {
			t.Errorf("mounts of lxcfs remain after umount: %q", got)
		}
	}
	unmount(t, h.mountpoint)
	h.start(t)
	h.must(t, "remount", "--all")
	for _, c := range containers {
		checkVirtual(t, h, c, memory)
	}
	for _, c := range h.report(t, "remount", "--all").Containers {
		if c.Outcome != "unchanged" || c.Virtual != served || c.Put+c.Removed != 0 {
			t.Errorf("a second remount reports %+v", c)
		}
	}
}

// TestRemountIsAtomic checks that a container always sees a file of lxcfs while remount replaces
// those of one lxcfs by those of another.
func TestRemountIsAtomic(t *testing.T) {
	if !hasMountBeneath(t) {
		t.Log("this kernel cannot mount beneath: the host's values may be seen for a moment, errors not")
	}
	h := newHost(t)
	h.start(t)
	const memory = 64 * mib
	c := h.container(t, ctr.Options{Memory: memory})
	path := filepath.Join("/proc", strconv.Itoa(c.PID), "root/proc/swaps")
	stop, reads := make(chan struct{}), atomic.Int64{}
	var wait sync.WaitGroup
	for range 4 {
		wait.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				var fs syscall.Statfs_t
				if err := syscall.Statfs(path, &fs); err != nil || hasMountBeneath(t) && fs.Type != fuseMagic {
					t.Errorf("statfs %s: type %#x, %v", path, fs.Type, err)
					return
				}
				if _, err := os.ReadFile(path); err != nil {
					t.Error(err)
					return
				}
				reads.Add(1)
			}
		})
	}
	old := []*ctr.Daemon{}
	for range ctr.Repeat(4, 10) {
		// The old daemon still serves containers that have its files.
		old = append(old, h.daemon)
		unmount(t, h.mountpoint)
		h.startBeside(t, fmt.Sprint(len(old)))
		if r := h.report(t, "remount", "--all"); r.Containers[0].Outcome != "done" {
			t.Errorf("remount reports %+v", r)
		}
	}
	close(stop)
	wait.Wait()
	if reads.Load() < 10 {
		t.Errorf("got only %d reads", reads.Load())
	}
	checkVirtual(t, h, c, memory)
	for _, d := range old {
		if err := d.Stop(); err != nil {
			t.Error(err)
		}
	}
}

// fuseMagic is FUSE_SUPER_MAGIC of statfs(2).
const fuseMagic = 0x65735546

// hasMountBeneath reports whether the kernel is Linux 6.5 or later.
func hasMountBeneath(t *testing.T) bool {
	t.Helper()
	text, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		t.Fatal(err)
	}
	var major, minor int
	if _, err := fmt.Sscanf(string(text), "%d.%d", &major, &minor); err != nil {
		t.Fatal(err)
	}
	return major > 6 || major == 6 && minor >= 5
}

// startBeside starts a daemon beside others, with its own pid file and runtime directory.
func (h *host) startBeside(t *testing.T, name string) {
	t.Helper()
	dir := filepath.Dir(h.mountpoint)
	d, err := ctr.StartDaemon(t.Context(), shared.lxcfs, dir, "--pidfile", filepath.Join(dir, name+".pid"),
		"--runtime-dir", filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	h.daemon = d
}

// TestKilledRemount checks that remount leaves one mount per file after remount and umount were
// killed at several moments.
func TestKilledRemount(t *testing.T) {
	h := newHost(t)
	h.start(t)
	var containers []*ctr.Container
	for range 5 {
		containers = append(containers, h.container(t, ctr.Options{Memory: 64 * mib}))
	}
	for i := 0; i < 30; i += ctr.Repeat(4, 1) {
		if i%3 == 0 {
			h.kill(t)
			unmount(t, h.mountpoint)
			h.start(t)
		}
		h.runFor(t, time.Duration(i)*time.Millisecond, "remount", "--all")
		h.runFor(t, time.Duration(i)*time.Millisecond/2, "umount", "--all")
		h.must(t, "remount", "--all")
		for _, c := range containers {
			if n := len(lxcfsMounts(t, strconv.Itoa(c.PID))); n != len(h.served(t)) {
				t.Fatalf("round %d: got %d mounts of lxcfs in a container: %q", i, n, lxcfsMounts(t, strconv.Itoa(c.PID)))
			}
		}
	}
	for _, c := range containers {
		checkVirtual(t, h, c, 64*mib)
	}
}
