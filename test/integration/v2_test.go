//go:build integration

package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"palisade/test/ctr"
)

// requireV2 skips a test on machines without pure cgroup v2. The virtual machine has it.
func requireV2(t *testing.T) {
	t.Helper()
	if !ctr.OnV2() {
		t.Skip("needs pure cgroup v2; make vm runs this test")
	}
}

// parentCgroup creates a parent cgroup for containers with the given limits, and returns its path.
func parentCgroup(t *testing.T, limits map[string]string) string {
	t.Helper()
	name := fmt.Sprintf("palisade-parent-%d-%d", os.Getpid(), time.Now().UnixNano())
	dir := filepath.Join("/sys/fs/cgroup", name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.Remove(dir); err != nil {
			t.Error(err)
		}
	})
	for _, controller := range []string{"cpu", "cpuset", "memory", "io", "pids"} {
		write(t, filepath.Join(dir, "cgroup.subtree_control"), "+"+controller)
	}
	for file, limit := range limits {
		write(t, filepath.Join(dir, file), limit)
	}
	return "/" + name
}

// TestV2Memory checks that the lowest limit of memory and swap at two levels counts.
func TestV2Memory(t *testing.T) {
	requireV2(t)
	hostSwap := field(t, hostFile(t, "/proc/meminfo"), "SwapTotal")
	if hostSwap < 400*mib {
		t.Fatalf("the guest has %d bytes of swap, too little for this test", hostSwap)
	}
	tests := []struct {
		name                 string
		parent, parentSwap   string
		own, ownSwap         string
		wantTotal, wantSwapT uint64
	}{
		{"lower own limit", "500M", "max", "400M", "100M", 400 * mib, 100 * mib},
		{"lower parent's limit", "500M", "64M", "600M", "128M", 500 * mib, 64 * mib},
		{"no own limit", "300M", "32M", "max", "max", 300 * mib, 32 * mib},
		{"no swap", "max", "0", "200M", "max", 200 * mib, 0},
		{"no limit", "max", "max", "max", "max", field(t, hostFile(t, "/proc/meminfo"), "MemTotal"), hostSwap},
	}
	cgroup := parentCgroup(t, nil)
	c := start(t, ctr.Options{Cgroup: cgroup + "/child", CgroupNamespace: true})
	dir := filepath.Join("/sys/fs/cgroup", cgroup)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			write(t, filepath.Join(dir, "memory.max"), tt.parent)
			write(t, filepath.Join(dir, "memory.swap.max"), tt.parentSwap)
			write(t, filepath.Join(dir, "child/memory.max"), tt.own)
			write(t, filepath.Join(dir, "child/memory.swap.max"), tt.ownSwap)
			meminfo := inside(t, c, "cat", "/proc/meminfo")
			if got := field(t, meminfo, "MemTotal"); got != tt.wantTotal {
				t.Errorf("MemTotal %d, want %d", got, tt.wantTotal)
			}
			if got := field(t, meminfo, "SwapTotal"); got != tt.wantSwapT {
				t.Errorf("SwapTotal %d, want %d", got, tt.wantSwapT)
			}
			swaps := inside(t, c, "cat", "/proc/swaps")
			want := tt.wantSwapT > 0
			if got := regexp.MustCompile(fmt.Sprintf(`(?m)virtual\s+%d\s+\d+\s+0$`, tt.wantSwapT/1024)).MatchString(swaps); got != want {
				t.Errorf("swaps: %q", swaps)
			}
		})
	}
}

// TestV2Swap checks that memory that a container swaps out shows in SwapFree.
func TestV2Swap(t *testing.T) {
	requireV2(t)
	c := start(t, ctr.Options{Memory: 48 * mib, MemorySwap: 248 * mib})
	if got := memory(t, c, "SwapTotal"); got != 200*mib {
		t.Fatalf("SwapTotal %d, want %d", got, 200*mib)
	}
	_, meminfo := takeMemory(t, c, 96*mib)
	if used := field(t, meminfo, "SwapTotal") - field(t, meminfo, "SwapFree"); used < 40*mib || used > 110*mib {
		t.Errorf("got %d MiB of used swap, want about 50", used/mib)
	}
}

// TestV2CPUs checks the CPUs with a cpuset and with quotas at two levels.
func TestV2CPUs(t *testing.T) {
	requireV2(t)
	if hostCPUs() < 4 {
		t.Fatalf("this test needs 4 CPUs, got %d", hostCPUs())
	}
	tests := []struct {
		name                 string
		parentMax, max, cpus string
		processors           int
		online               string
		statLines            int
	}{
		{"a cpuset with a gap", "max 100000", "max 100000", "0,2,3", 3, "0-2\n", 4},
		{"all CPUs", "max 100000", "max 100000", "0-3", 4, "0-3\n", 5},
		{"a quota of one and a half", "max 100000", "150000 100000", "0-3", 2, "0-1\n", 3},
		{"lower parent's quota", "50000 100000", "300000 100000", "0-3", 1, "0\n", 2},
		{"another period", "max 100000", "30000 10000", "0-3", 3, "0-2\n", 4},
		{"more quota than CPUs", "max 100000", "900000 100000", "1-2", 2, "0-1\n", 3},
	}
	cgroup := parentCgroup(t, nil)
	c := start(t, ctr.Options{Cgroup: cgroup + "/child"})
	dir := filepath.Join("/sys/fs/cgroup", cgroup)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			write(t, filepath.Join(dir, "cpu.max"), tt.parentMax)
			write(t, filepath.Join(dir, "child/cpu.max"), tt.max)
			write(t, filepath.Join(dir, "child/cpuset.cpus"), tt.cpus)
			if got := processors(inside(t, c, "cat", "/proc/cpuinfo")); got != tt.processors {
				t.Errorf("%d processors, want %d", got, tt.processors)
			}
			if got := inside(t, c, "cat", "/sys/devices/system/cpu/online"); got != tt.online {
				t.Errorf("%q is online, want %q", got, tt.online)
			}
			if got := len(regexp.MustCompile(`(?m)^cpu`).FindAllString(inside(t, c, "cat", "/proc/stat"), -1)); got != tt.statLines {
				t.Errorf("%d lines of CPUs in stat, want %d", got, tt.statLines)
			}
		})
	}
}

// TestV2Nested checks that a reader in a descendant cgroup gets the container's values.
func TestV2Nested(t *testing.T) {
	requireV2(t)
	c := start(t, ctr.Options{Memory: limit, Quota: 150000, CgroupNamespace: true})
	dir, err := c.Cgroup("")
	if err != nil {
		t.Fatal(err)
	}
	below := filepath.Join(dir, "nested/deeper")
	if err := os.MkdirAll(below, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := c.ExecStart(t.Context(), "sh", "-c", "while sleep 0.2; do for f in meminfo cpuinfo; do cat /proc/$f >/tmp/new; mv /tmp/new /tmp/$f; done; done"); err != nil {
		t.Fatal(err)
	}
	shell := ""
	waitFor(t, "the shell", func() bool {
		for _, pid := range strings.Fields(hostFile(t, filepath.Join(dir, "cgroup.procs"))) {
			if cmdline, err := os.ReadFile("/proc/" + pid + "/cmdline"); err == nil && strings.HasPrefix(string(cmdline), "sh\x00-c") {
				shell = pid
			}
		}
		return shell != ""
	})
	write(t, filepath.Join(below, "cgroup.procs"), shell)
	inside(t, c, "rm", "-f", "/tmp/meminfo", "/tmp/cpuinfo")
	time.Sleep(time.Second) // a round may have begun before the move
	inside(t, c, "rm", "-f", "/tmp/meminfo", "/tmp/cpuinfo")
	waitFor(t, "reads from the nested cgroup", func() bool {
		names := inside(t, c, "ls", "/tmp")
		return strings.Contains(names, "meminfo") && strings.Contains(names, "cpuinfo")
	})
	if got := field(t, inside(t, c, "cat", "/tmp/meminfo"), "MemTotal"); got != limit {
		t.Errorf("MemTotal %d from the nested cgroup, want %d", got, limit)
	}
	if got := processors(inside(t, c, "cat", "/tmp/cpuinfo")); got != 2 {
		t.Errorf("%d processors from the nested cgroup, want 2", got)
	}
}

// TestV2Pressure checks the container's own pressure, and triggers.
func TestV2Pressure(t *testing.T) {
	requireV2(t)
	c := start(t, ctr.Options{Quota: 20000})
	line := regexp.MustCompile(`^some avg10=\d+\.\d\d avg60=\d+\.\d\d avg300=\d+\.\d\d total=\d+\n`)
	for _, resource := range []string{"cpu", "memory", "io"} {
		if got := inside(t, c, "cat", "/proc/pressure/"+resource); !line.MatchString(got) {
			t.Errorf("%s: %q", resource, got)
		}
		if got := hostFile(t, filepath.Join(shared.daemon.Mountpoint, "proc/pressure", resource)); !line.MatchString(got) {
			t.Errorf("%s for the host: %q", resource, got)
		}
	}
	if err := c.ExecStart(t.Context(), "load", "burn", "4"); err != nil {
		t.Fatal(err)
	}
	if got := inside(t, c, "load", "psi", "/proc/pressure/cpu", "some 100000 1000000"); got != "set\nevents 1 2\n" {
		t.Errorf("load psi: %q", got)
	}
	inside(t, c, "killall", "load")
	dir, err := c.Cgroup("")
	if err != nil {
		t.Fatal(err)
	}
	total := regexp.MustCompile(`some .*total=(\d+)`)
	own := total.FindStringSubmatch(inside(t, c, "cat", "/proc/pressure/cpu"))
	real := total.FindStringSubmatch(hostFile(t, filepath.Join(dir, "cpu.pressure")))
	if own == nil || real == nil || len(own[1]) < 5 || len(real[1]) < 5 {
		t.Errorf("got a total of %v, the cgroup has %v", own, real)
	}
	for _, trigger := range []string{"", "some", "some 1 1", "more 100000 1000000", strings.Repeat("x", 100)} {
		if out, err := c.Exec(t.Context(), "load", "psi", "/proc/pressure/cpu", trigger); err == nil {
			t.Errorf("trigger %q was set: %q", trigger, out)
		}
	}
	// A container can set 64 triggers.
	if got := inside(t, c, "load", "psi", "/proc/pressure/memory", "full 900000 1000000", "80"); got != "set 64: no space left on device\n" {
		t.Errorf("80 triggers: %q", got)
	}
	if got := inside(t, c, "load", "psi", "/proc/pressure/memory", "full 900000 1000000", "3"); got != "set 3: <nil>\n" {
		t.Errorf("3 triggers after these: %q", got)
	}
}

// TestV2PressureSurvives checks that a process that waits for a trigger gets its event from a later
// worker.
func TestV2PressureSurvives(t *testing.T) {
	requireV2(t)
	d := newDaemon(t, t.TempDir())
	for _, way := range []struct {
		name   string
		change func()
	}{
		{"killed", func() { killWorker(t, d) }},
		{"killed twice", func() { killWorker(t, d); killWorker(t, d) }},
		{"upgraded", func() {
			old := workerOf(t, d)
			if err := d.Signal(syscall.SIGUSR1); err != nil {
				t.Fatal(err)
			}
			waitForWorker(t, d, old)
		}},
	} {
		t.Run(way.name, func(t *testing.T) {
			c := start(t, ctr.Options{Quota: 20000, Lxcfs: d.Mountpoint})
			got := make(chan string)
			go func() {
				out, err := c.Exec(t.Context(), "load", "psi", "/proc/pressure/cpu", "some 100000 1000000")
				got <- fmt.Sprint(out, err)
			}()
			waitFor(t, "load psi to start", func() bool { return isRunning("load\x00psi") })
			time.Sleep(time.Second) // until it waits
			way.change()
			if err := c.ExecStart(t.Context(), "load", "burn", "4"); err != nil {
				t.Fatal(err)
			}
			if out := <-got; out != "set\nevents 1 2\n<nil>" {
				t.Errorf("load psi: %q", out)
			}
		})
	}
}

// isRunning reports whether a process with args in its command line exists.
func isRunning(args string) bool {
	processes, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	return slices.ContainsFunc(processes, func(path string) bool {
		line, err := os.ReadFile(path)
		return err == nil && strings.Contains(string(line), args)
	})
}
