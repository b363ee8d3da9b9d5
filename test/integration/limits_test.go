//go:build integration

package integration

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"palisade/test/ctr"
)

// TestUpdate checks that the next read shows changed limits.
func TestUpdate(t *testing.T) {
	limits := func(memory int64, cpus string) specs.LinuxResources {
		swap := 2 * memory
		return specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &memory, Swap: &swap}, CPU: &specs.LinuxCPU{Cpus: cpus}}
	}
	forEachRuntime(t, func(t *testing.T, runtime string) {
		c := start(t, ctr.Options{Runtime: runtime, Memory: 256 * mib, MemorySwap: 512 * mib, CPUs: "0"})
		for round := range 5 {
			for _, want := range []struct {
				memory int64
				cpus   int
				list   string
			}{{256 * mib, 1, "0"}, {512 * mib, 2, "0-1"}} {
				if err := c.Update(t.Context(), limits(want.memory, want.list)); err != nil {
					t.Fatal(err)
				}
				total, cpus := memory(t, c, "MemTotal"), processors(inside(t, c, "cat", "/proc/cpuinfo"))
				if total != uint64(want.memory) || cpus != want.cpus {
					t.Fatalf("round %d: %d bytes and %d CPUs, want %d and %d", round, total, cpus, want.memory, want.cpus)
				}
				if got := inside(t, c, "cat", "/sys/devices/system/cpu/online"); got != want.list+"\n" {
					t.Errorf("round %d: %q is online, want %s", round, got, want.list)
				}
			}
		}
		quota, period := int64(50000), uint64(100000)
		if err := c.Update(t.Context(), specs.LinuxResources{CPU: &specs.LinuxCPU{Quota: &quota, Period: &period}}); err != nil {
			t.Fatal(err)
		}
		if got := processors(inside(t, c, "cat", "/proc/cpuinfo")); got != 1 {
			t.Errorf("%d processors for a quota of half a CPU, want 1", got)
		}
	})
}

// TestZswapOption checks that containers have the lines Zswap and Zswapped that the host has, and
// none with the option -z.
func TestZswapOption(t *testing.T) {
	hidden := newDaemon(t, t.TempDir(), "-z")
	for _, tt := range []struct {
		daemon *ctr.Daemon
		want   int
	}{{shared.daemon, strings.Count(hostFile(t, "/proc/meminfo"), "Zswap")}, {hidden, 0}} {
		c := start(t, ctr.Options{Memory: 64 * mib, Lxcfs: tt.daemon.Mountpoint})
		meminfo := inside(t, c, "cat", "/proc/meminfo")
		if got := strings.Count(meminfo, "Zswap"); got != tt.want {
			t.Errorf("%d lines of zswap, want %d: %s", got, tt.want, meminfo)
		}
	}
}

// cpuTimes returns the busy and idle ticks in a line of the container's stat, read by a process in
// its pid namespace that uses none of its CPU time.
func cpuTimes(t *testing.T, c *ctr.Container, key string) (busy, idle uint64) {
	t.Helper()
	stat := filepath.Join(c.Lxcfs, "proc/stat")
	text, err := exec.CommandContext(t.Context(), "nsenter", "-t", strconv.Itoa(c.PID), "-p", "cat", stat).Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) < 5 || fields[0] != key {
			continue
		}
		var n [4]uint64
		for i := range n {
			var err error
			if n[i], err = strconv.ParseUint(fields[i+1], 10, 64); err != nil {
				t.Fatal(err)
			}
		}
		return n[0] + n[1] + n[2], n[3]
	}
	t.Fatalf("no %s in %q", key, text)
	return 0, 0
}

// share returns the busy share of the container's CPU time over d in stat, and the share of the
// given number of CPUs that it used, in percent.
func share(t *testing.T, c *ctr.Container, d time.Duration, cpus float64) (shown, real float64) {
	t.Helper()
	busy0, idle0 := cpuTimes(t, c, "cpu")
	start, used0 := time.Now(), c.CPUTime(t)
	time.Sleep(d)
	busy1, idle1 := cpuTimes(t, c, "cpu")
	used1, elapsed := c.CPUTime(t), time.Since(start)
	if busy1 < busy0 || idle1 < idle0 || busy1+idle1 == busy0+idle0 {
		t.Fatalf("busy and idle ticks went from %d, %d to %d, %d", busy0, idle0, busy1, idle1)
	}
	shown = 100 * float64(busy1-busy0) / float64(busy1+idle1-busy0-idle0)
	return shown, 100 * (used1 - used0).Seconds() / elapsed.Seconds() / cpus
}

// TestCPUTime checks that stat shows the CPU time that busy containers use within 5 %.
func TestCPUTime(t *testing.T) {
	tests := []struct {
		name    string
		options ctr.Options
		cpus    float64
		threads string
	}{
		{"half a CPU", ctr.Options{Quota: 50000}, 0.5, "1"},
		{"one CPU by cpuset", ctr.Options{CPUs: "0"}, 1, "1"},
		{"one and a half", ctr.Options{Quota: 150000}, 1.5, "2"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := start(t, tt.options)
			if shown, _ := share(t, c, 3*time.Second, tt.cpus); shown > 5 {
				t.Errorf("an idle container is busy %.1f %% of the time, want at most 5 %%", shown)
			}
			if err := c.ExecStart(t.Context(), "load", "burn", tt.threads); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second) // until it burns
			// A busy machine delays the reads, which are not at the same time.
			waitFor(t, "an interval with the right CPU time", func() bool {
				shown, real := share(t, c, 3*time.Second, tt.cpus)
				t.Logf("used %.1f %% of the limit, shown %.1f %%", real, shown)
				return shown >= 0.95*real && shown <= 1.05*real && real >= 5
			})
		})
	}
}

// TestLoad checks that the load of a busy container rises, and that of an idle one does not.
func TestLoad(t *testing.T) {
	burning, idle := start(t, ctr.Options{}), start(t, ctr.Options{})
	if err := burning.ExecStart(t.Context(), "load", "burn", "2"); err != nil {
		t.Fatal(err)
	}
	inside(t, burning, "cat", "/proc/loadavg")
	inside(t, idle, "cat", "/proc/loadavg")
	load := func(c *ctr.Container) float64 {
		t.Helper()
		return number(t, strings.Fields(inside(t, c, "cat", "/proc/loadavg"))[0])
	}
	waitFor(t, "the load of two busy threads", func() bool { return load(burning) > 0.4 })
	if got := load(idle); got > 0.2 { // a sample may include cat
		t.Errorf("got load %v of the idle container, want at most 0.2", got)
	}
}

// takeMemory allocates memory in the container, and returns meminfo before and after.
func takeMemory(t *testing.T, c *ctr.Container, bytes int) (before, after string) {
	t.Helper()
	if err := c.ExecStart(t.Context(), "load", "mem", strconv.Itoa(bytes)); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the program's start", func() bool { return strings.Contains(c.Log(), "started") })
	before = inside(t, c, "cat", "/proc/meminfo")
	inside(t, c, "touch", "/tmp/take")
	waitFor(t, "the memory", func() bool { return strings.Contains(c.Log(), "ready") })
	return before, inside(t, c, "cat", "/proc/meminfo")
}

// TestMemoryHog checks that memory that a program allocates moves from MemFree to AnonPages.
func TestMemoryHog(t *testing.T) {
	forEachRuntime(t, func(t *testing.T, runtime string) {
		const taken = 100 * mib
		c := start(t, ctr.Options{Runtime: runtime, Memory: 256 * mib})
		before, after := takeMemory(t, c, taken)
		for key, moved := range map[string]float64{
			"AnonPages": float64(field(t, after, "AnonPages")) - float64(field(t, before, "AnonPages")),
			"MemFree":   float64(field(t, before, "MemFree")) - float64(field(t, after, "MemFree")),
		} {
			if moved < 0.98*taken || moved > 1.02*taken {
				t.Errorf("%s moved by %.1f MiB, want %d", key, moved/mib, taken/mib)
			}
		}
	})
}

// TestDisks checks that a container sees its own disk under its name in /dev, with its own I/O.
func TestDisks(t *testing.T) {
	loop, major, minor := loopDevice(t)
	device := specs.LinuxDevice{Path: "/dev/data", Type: "b", Major: major, Minor: minor}
	// On v1, since Linux 6.10, nothing is counted without a limit (blk_throtl_activated()).
	var noLimit specs.LinuxThrottleDevice
	noLimit.Major, noLimit.Minor, noLimit.Rate = major, minor, 1<<40
	c := start(t, ctr.Options{Devices: []specs.LinuxDevice{device}, BlockIO: &specs.LinuxBlockIO{
		ThrottleReadBpsDevice: []specs.LinuxThrottleDevice{noLimit},
	}})
	stat := func() (reads, sectorsRead, writes, sectorsWritten uint64) {
		t.Helper()
		for line := range strings.Lines(inside(t, c, "cat", "/proc/diskstats")) {
			fields := strings.Fields(line)
			if len(fields) < 14 || fields[2] != "data" {
				continue
			}
			n := make([]uint64, 8)
			for i := range n {
				var err error
				if n[i], err = strconv.ParseUint(fields[i+3], 10, 64); err != nil {
					t.Fatal(err)
				}
			}
			return n[0], n[2], n[4], n[6]
		}
		t.Fatalf("no disk called data in %q", inside(t, c, "cat", "/proc/diskstats"))
		return
	}
	waitForDisks(t, c)
	r0, sr0, w0, sw0 := stat()
	inside(t, c, "load", "write", "/dev/data", strconv.Itoa(4*mib))
	r1, sr1, w1, sw1 := stat()
	if r1 <= r0 || w1 <= w0 || sr1-sr0 != 4*mib/512 || sw1-sw0 != 4*mib/512 {
		t.Errorf("%d reads of %d sectors, %d writes of %d sectors; want %d sectors each", r1-r0, sr1-sr0, w1-w0, sw1-sw0, 4*mib/512)
	}
	partitions := inside(t, c, "cat", "/proc/partitions")
	if !strings.Contains(partitions, " 8192 data\n") || strings.Contains(partitions, filepath.Base(loop)) {
		t.Errorf("partitions: %q", partitions)
	}
	other := start(t, ctr.Options{})
	waitForDisks(t, other)
	if got := inside(t, other, "cat", "/proc/diskstats", "/proc/partitions"); strings.Contains(got, "data") || strings.Contains(got, "loop") {
		t.Errorf("a container without the device sees %q", got)
	}
}

// loopDevice creates a disk of 8 MiB.
func loopDevice(t *testing.T) (path string, major, minor int64) {
	t.Helper()
	image := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(image, make([]byte, 8*mib), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("losetup", "-f").Output()
	if err != nil {
		t.Fatal(err)
	}
	path = strings.TrimSpace(string(out))
	if out, err := exec.Command("losetup", path, image).CombinedOutput(); err != nil {
		t.Fatalf("losetup: %v: %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("losetup", "-d", path).CombinedOutput(); err != nil {
			t.Errorf("losetup -d: %v: %s", err, out)
		}
	})
	number := strings.TrimSpace(hostFile(t, "/sys/block/"+filepath.Base(path)+"/dev"))
	first, second, _ := strings.Cut(number, ":")
	if major, err = strconv.ParseInt(first, 10, 32); err != nil {
		t.Fatal(err)
	}
	if minor, err = strconv.ParseInt(second, 10, 32); err != nil {
		t.Fatal(err)
	}
	return path, major, minor
}

// TestHangingDev checks that no reader waits for a hanging file system in a container's /dev.
func TestHangingDev(t *testing.T) {
	hanging, err := ctr.StartDaemon(t.Context(), shared.lxcfs, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	c := start(t, ctr.Options{Memory: limit, Mounts: []specs.Mount{
		{Destination: "/dev/hanging", Type: "bind", Source: hanging.Mountpoint, Options: []string{"bind"}},
	}})
	other := start(t, ctr.Options{Memory: limit})
	if err := hanging.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(hanging.Signal(syscall.SIGCONT), hanging.Stop()); err != nil {
			t.Error(err)
		}
	})
	// Exec has a timeout.
	for range 3 {
		inside(t, c, "sh", "-c", "for i in 1 2 3 4 5 6 7 8 9 10; do cat /proc/diskstats /proc/partitions >/dev/null & done; wait")
		if got := memory(t, other, "MemTotal"); got != limit {
			t.Errorf("MemTotal %d of another container, want %d", got, limit)
		}
	}
}

// TestRootNamesDevice mounts a container's root with the path of a host device as its source: the
// source must be ignored, and the device not shown.
func TestRootNamesDevice(t *testing.T) {
	loop, _, _ := loopDevice(t)
	root := t.TempDir()
	const script = `mount -t tmpfs "$0" "$1" && cp -a "$2/." "$1" && mount -t proc proc "$1/proc" &&
		mount --bind "$3" "$1/proc/partitions" && exec chroot "$1" cat /proc/1/mountinfo /proc/partitions`
	out, err := exec.CommandContext(t.Context(), "unshare", "--pid", "--fork", "--mount", "sh", "-c", script,
		loop, root, shared.rootfs, filepath.Join(shared.daemon.Mountpoint, "proc/partitions")).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	text := string(out)
	if !strings.Contains(text, " tmpfs "+loop+" ") || !strings.Contains(text, "#blocks") {
		t.Fatalf("unexpected root mount: %s", text)
	}
	if _, partitions, _ := strings.Cut(text, "#blocks"); strings.Contains(partitions, "sda") {
		t.Errorf("the container sees %s: %q", loop, partitions)
	}
}
