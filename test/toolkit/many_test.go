//go:build integration

package toolkit

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"palisade/test/ctr"
	"palisade/test/engine"
)

// namespaces starts processes in their own namespaces and runs the hook for each.
func (h *host) namespaces(t *testing.T, n int) []*ctr.Namespaces {
	t.Helper()
	var all []*ctr.Namespaces
	for range n {
		c, err := ctr.StartNamespaces(shared.rootfs)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := c.Stop(); err != nil {
				t.Error(err)
			}
		})
		if r := h.run(t, c.State(), "hook", "--strict"); r.Code != 0 || r.Stderr != "" {
			t.Fatalf("hook: %+v", r)
		}
		all = append(all, c)
	}
	return all
}

// TestMany checks remount of many containers after it was killed at several moments.
func TestMany(t *testing.T) {
	h := newHost(t)
	h.start(t)
	all := h.namespaces(t, ctr.Repeat(60, 200))
	want := len(h.served(t))
	check := func(what string, want int) {
		t.Helper()
		for _, c := range all {
			if n := len(lxcfsMounts(t, strconv.Itoa(c.PID))); n != want {
				t.Fatalf("after %s: got %d mounts in a container, want %d", what, n, want)
			}
		}
	}
	check("the hook", want)
	h.kill(t)
	unmount(t, h.mountpoint)
	h.start(t)
	for _, d := range []time.Duration{5, 20, 50, 100, 200, 400} {
		h.runFor(t, d*time.Millisecond, "remount", "--all")
	}
	for _, outcome := range []string{"", "unchanged"} {
		r := h.report(t, "remount", "--all")
		if len(r.Containers) != len(all) {
			t.Errorf("got %d containers in the report, want %d", len(r.Containers), len(all))
		}
		for _, c := range r.Containers {
			if c.Virtual != want || c.Error != "" || outcome != "" && c.Outcome != outcome {
				t.Fatalf("remount reports %+v", c)
			}
		}
		check("remount", want)
	}
	h.must(t, "umount", "--all")
	check("umount", 0)
	if _, err := os.ReadDir(filepath.Join(h.dir, "run/containers")); err != nil {
		t.Error(err)
	}
}

// TestNothingLeaks checks that starting, remounting and removing containers leaves no processes,
// open files of the daemon or records behind. (newHost checks the mounts.)
func TestNothingLeaks(t *testing.T) {
	h := newHost(t)
	h.start(t)
	dir := filepath.Dir(h.mountpoint)
	count := func() (processes, files int) {
		entries, err := os.ReadDir("/proc")
		if err != nil {
			t.Fatal(err)
		}
		for _, entry := range entries {
			if _, err := strconv.Atoi(entry.Name()); err == nil {
				processes++
			}
		}
		worker, err := h.daemon.WorkerPID()
		if err != nil {
			t.Fatal(err)
		}
		fds, err := os.ReadDir(filepath.Join("/proc", strconv.Itoa(worker), "fd"))
		if err != nil {
			t.Fatal(err)
		}
		return processes, len(fds)
	}
	round := func(runtime string) {
		c := h.container(t, ctr.Options{Runtime: runtime, Memory: 64 * mib, Mounts: []specs.Mount{
			{Destination: "/var/lib/lxc", Type: "bind", Source: dir, Options: []string{"rbind", "rshared"}},
		}})
		inside(t, c, "cat", "/proc/meminfo")
		h.must(t, "umount", "--all")
		h.must(t, "remount", "--all")
		if err := c.Remove(); err != nil {
			t.Error(err)
		}
	}
	h.must(t, "prestart")
	defer unmount(t, dir)
	mounts := hostMounts(t)
	round("runc")
	processes, files := count()
	for i := range ctr.Repeat(4, 10) {
		round([]string{"runc", "crun"}[i%2])
	}
	if after := hostMounts(t); after != mounts {
		t.Errorf("mounts changed: got\n%s\nwant\n%s", after, mounts)
	}
	engine.WaitFor(t, "processes and open files to be as many as before", func() bool {
		p, f := count()
		return p <= processes && f <= files
	})
	h.must(t, "list")
	if left, err := os.ReadDir(filepath.Join(h.dir, "run/containers")); err != nil || len(left) > 0 {
		t.Errorf("records remain: %v, %v", left, err)
	}
	h.stop(t)
}

// TestNested checks that a new lxcfs reaches processes in nested mount namespaces of a container,
// also with a nested user namespace, in which mounts from outside are locked.
func TestNested(t *testing.T) {
	h := newHost(t)
	h.start(t)
	c := h.container(t, ctr.Options{Memory: 64 * mib, Args: []string{"/bin/sh", "-c",
		"unshare -m sleep 1001 & unshare -U -m sleep 1002 & exec sleep 1003"}})
	var nested []string
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(c.Log())
		}
	})
	engine.WaitFor(t, "all processes to sleep", func() bool {
		nested = nil
		for _, args := range []string{"sleep\x001001\x00", "sleep\x001002\x00"} {
			nested = append(nested, processWith(t, args)...)
		}
		return len(nested) == 2
	})
	check := func(what, want string, pids ...string) {
		t.Helper()
		for _, pid := range append(pids, strconv.Itoa(c.PID)) {
			text, err := os.ReadFile(filepath.Join("/proc", pid, "root/proc/meminfo"))
			if err != nil || !strings.HasPrefix(string(text), want) {
				t.Errorf("after %s process %s reads %.30q, %v", what, pid, text, err)
			}
		}
	}
	// A reader through another process's root gets its own container's values, here the host's.
	host, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		t.Fatal(err)
	}
	total, _, _ := strings.Cut(string(host), "\n")
	for range 3 {
		h.kill(t)
		h.must(t, "prestart")
		h.must(t, "umount", "--all")
		check("umount", total, nested[0])
		h.start(t)
		for range 2 {
			r := h.report(t, "remount", "--all")
			if len(r.Containers) != 1 || r.Containers[0].Error != "" {
				t.Errorf("remount reports %+v", r)
			}
		}
		check("remount", total, nested...)
		if got := inside(t, c, "head", "-n", "1", "/proc/meminfo"); got != "MemTotal:          65536 kB\n" {
			t.Errorf("the container reads %q", got)
		}
	}
	unmount(t, filepath.Dir(h.mountpoint))
}

// processWith returns the pids of the processes with a command line.
func processWith(t *testing.T, commandLine string) []string {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	var pids []string
	for _, entry := range entries {
		text, err := os.ReadFile(filepath.Join("/proc", entry.Name(), "cmdline"))
		if err == nil && string(text) == commandLine {
			pids = append(pids, entry.Name())
		}
	}
	return pids
}

// TestSharedProc checks that remount refuses a container whose /proc is a peer of the host's, to
// which its mounts would propagate.
func TestSharedProc(t *testing.T) {
	h := newHost(t)
	h.start(t)
	if err := syscall.Mount("", "/proc", "", syscall.MS_SHARED, ""); err != nil {
		t.Fatal(err)
	}
	defer syscall.Mount("", "/proc", "", syscall.MS_PRIVATE, "")
	c, err := ctr.StartPeer()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Stop()
	pid := strconv.Itoa(c.PID)
	stat, err := os.ReadFile(filepath.Join("/proc", pid, "stat"))
	if err != nil {
		t.Fatal(err)
	}
	start := strings.Fields(string(stat))[21]
	if err := os.MkdirAll("/run/runc/peer", 0o700); err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll("/run/runc/peer")
	state := `{"id":"peer","init_process_pid":` + pid + `,"init_process_start":` + start + `}`
	if err := os.WriteFile("/run/runc/peer/state.json", []byte(state), 0o600); err != nil {
		t.Fatal(err)
	}
	before := hostMounts(t)
	r := h.run(t, "", "remount", "-c", "peer")
	if r.Code != 1 || !strings.Contains(r.Stdout, "propagate the new mount to the host") {
		t.Errorf("%+v", r)
	}
	if after := hostMounts(t); after != before {
		t.Errorf("mounts changed: got\n%s\nwant\n%s", after, before)
	}
}
