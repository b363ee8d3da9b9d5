//go:build integration

package integration

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"palisade/test/ctr"
)

// TestEveryFile checks each file in a container with one CPU and 256 MiB.
func TestEveryFile(t *testing.T) {
	for _, runtime := range []string{"runc", "crun"} {
		c := start(t, ctr.Options{Runtime: runtime, Memory: 256 * mib, CPUs: "0", CgroupNamespace: true})
		patterns := []struct{ path, pattern string }{
			{"/proc/meminfo", `^MemTotal:         262144 kB\nMemFree: +2\d{5} kB\nMemAvailable: +2\d{5} kB\nBuffers: +0 kB\n`},
			{"/proc/cpuinfo", `^processor\t: 0\n`},
			{"/proc/stat", `^cpu  \d+ 0 \d+ \d+ 0 0 0 0 0 0\ncpu0 \d+ 0 \d+ \d+ 0 0 0 0 0 0\nintr [\d ]+\nctxt \d+\nbtime ` + btime(t) +
				`\nprocesses \d{1,2}\nprocs_running \d\nprocs_blocked 0\n`},
			{"/proc/uptime", `^\d{1,2}\.\d\d \d{1,2}\.\d\d\n$`},
			{"/proc/swaps", `^Filename\t\t\t\tType\t\tSize\t+Used\t+Priority\n(none +virtual\t.*\n)?$`},
			{"/proc/diskstats", `^$|^ +\d+ +\d+ sda( \d+){11,17}\n$`},
			{"/proc/partitions", `^major minor  #blocks  name\n\n( +\d+ +\d+ +\d+ sda\n)?$`},
			{"/proc/loadavg", `^0\.\d\d 0\.\d\d 0\.\d\d \d/\d \d{1,2}\n$`},
			{"/proc/vmstat", `^nr_free_pages 6\d{4}\n(.*\n)+pgpgin \d+\n(.*\n)+pgfault [1-9]\d{1,4}\n(.*\n)+oom_kill 0\n`},
			{"/sys/devices/system/cpu/online", `^0\n$`},
			{"/sys/devices/system/cpu/possible", "^" + regexp.QuoteMeta(hostFile(t, "/sys/devices/system/cpu/possible")) + "$"},
		}
		if _, err := os.Stat("/proc/slabinfo"); err == nil {
			patterns = append(patterns, struct{ path, pattern string }{"/proc/slabinfo", `^slabinfo - version: 2\.1\n# name .*\n`})
		}
		waitForDisks(t, c)
		for _, p := range patterns {
			if got := inside(t, c, "cat", p.path); !regexp.MustCompile(p.pattern).MatchString(got) {
				t.Errorf("%s: got %q, want a match of %s", p.path, got, p.pattern)
			}
		}
		if hostCPUs() > 1 {
			if got, want := inside(t, c, "cat", "/sys/devices/system/cpu/offline"), restOfPresent(t); got != want {
				t.Errorf("offline CPUs: %q, want %q", got, want)
			}
		}
	}
}

// waitForDisks waits until lxcfs has searched a container's /dev, before which the container sees
// the host's disks, for two seconds at most: they may also be its own.
func waitForDisks(t *testing.T, c *ctr.Container) {
	t.Helper()
	host := hostFile(t, "/proc/partitions")
	for range 20 {
		if inside(t, c, "cat", "/proc/partitions") != host {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func btime(t *testing.T) string {
	t.Helper()
	found := regexp.MustCompile(`\nbtime (\d+)\n`).FindStringSubmatch(hostFile(t, "/proc/stat"))
	if found == nil {
		t.Fatal("the host's stat has no btime")
	}
	return found[1]
}

// restOfPresent returns the list of the host's CPUs except the first.
func restOfPresent(t *testing.T) string {
	t.Helper()
	first, last, _ := strings.Cut(strings.TrimSpace(hostFile(t, "/sys/devices/system/cpu/present")), "-")
	if first != "0" {
		t.Fatalf("present CPUs begin with %s", first)
	}
	if last == "1" {
		return "1\n"
	}
	return "1-" + last + "\n"
}

// TestCpuinfoTopology checks that cpuinfo shows each CPU as a socket with one core.
func TestCpuinfoTopology(t *testing.T) {
	c := start(t, ctr.Options{})
	cpuinfo := inside(t, c, "cat", "/proc/cpuinfo")
	if got := processors(cpuinfo); got != hostCPUs() {
		t.Fatalf("%d processors without limits, want the host's %d", got, hostCPUs())
	}
	host := hostFile(t, "/proc/cpuinfo")
	for i := range hostCPUs() {
		block := strings.Split(cpuinfo, "\n\n")[i]
		for key, want := range map[string]int{
			"processor": i, "physical id": i, "siblings": 1, "core id": 0, "cpu cores": 1, "apicid": i, "initial apicid": i,
		} {
			found := regexp.MustCompile(`(?m)^` + key + `\t+: (\d+)$`).FindStringSubmatch(block)
			if found == nil && !strings.Contains(host, "\n"+key+"\t") {
				continue // not on this architecture
			}
			if found == nil || found[1] != strconv.Itoa(want) {
				t.Errorf("processor %d: %s is %q, want %d", i, key, found, want)
			}
		}
	}
	if got, want := strings.Count(cpuinfo, "\nflags"), strings.Count(host, "\nflags"); got != want {
		t.Errorf("got %d lines of flags, want the host's %d", got, want)
	}
}

// TestWaysToRead checks that different ways to read a file return the same text.
func TestWaysToRead(t *testing.T) {
	c := start(t, ctr.Options{Memory: 128 * mib})
	other := start(t, ctr.Options{Memory: 64 * mib})
	const file = "/proc/swaps" // does not change
	want := inside(t, c, "cat", file)
	for _, args := range [][]string{
		{"load", "sendfile", file}, {"load", "pieces", file, "1"}, {"load", "pieces", file, "7"},
		{"load", "pieces", file, "100000"}, {"dd", "if=" + file, "bs=5"}, {"head", "-n", "100", file}, {"tail", "-n", "+1", file},
		{"sh", "-c", "while read -r line; do echo \"$line\"; done <" + file},
	} {
		if got := inside(t, c, args...); strings.Join(strings.Fields(got), " ") != strings.Join(strings.Fields(want), " ") {
			t.Errorf("%v: got %q, want %q", args, got, want)
		}
	}
	// Containers share the page cache, which must not hold a container's text.
	for _, each := range []struct {
		c    *ctr.Container
		want uint64
	}{{c, 128 * mib}, {other, 64 * mib}, {c, 128 * mib}} {
		if got := field(t, inside(t, each.c, "load", "sendfile", "/proc/meminfo"), "MemTotal"); got != each.want {
			t.Errorf("MemTotal by sendfile: %d, want %d", got, each.want)
		}
		if out, err := each.c.Exec(t.Context(), "load", "mmap", "/proc/meminfo"); err == nil {
			t.Errorf("mmap of meminfo succeeded: %q", out)
		}
	}
	if got := inside(t, c, "stat", "-c", "%a %F", "/proc/meminfo"); got != "444 regular file\n" {
		t.Errorf("stat: %q", got)
	}
	if out, err := c.Exec(t.Context(), "sh", "-c", "echo 1 >/proc/meminfo"); err == nil {
		t.Errorf("write to meminfo succeeded: %q", out)
	}
}

// TestSysTree checks that the CPU directory of a container with one CPU equals the host's except
// for the CPUs, and is read-only.
func TestSysTree(t *testing.T) {
	c := start(t, ctr.Options{CPUs: "0"})
	const dir = "/sys/devices/system/cpu"
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	otherCPU := regexp.MustCompile(`^cpu[1-9]`)
	var want []string
	for _, e := range entries {
		if !otherCPU.MatchString(e.Name()) {
			want = append(want, e.Name())
		}
	}
	if got := strings.Fields(inside(t, c, "ls", "-A", dir)); strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("the directory has %v, want %v", got, want)
	}
	inside(t, c, "sh", "-c", "find "+dir+" -type f -perm -444 -exec cat {} + >/dev/null 2>&1; true")
	matches, err := filepath.Glob(dir + "/cpu0/topology/*_id")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range append(matches, dir+"/kernel_max", dir+"/possible") {
		if got, want := inside(t, c, "cat", path), hostFile(t, path); got != want {
			t.Errorf("%s: %q, the host has %q", path, got, want)
		}
	}
	if got := inside(t, c, "cat", dir+"/online", dir+"/present"); got != "0\n0\n" {
		t.Errorf("online and present are %q", got)
	}
	if got := inside(t, c, "sh", "-c", "find "+dir+" ! -type l -perm -200; ls "+dir+"/cpu1 2>&1 | grep -c 'No such'; true"); got != "1\n" {
		t.Errorf("got writable files and missing cpu1 %q, want 1", got)
	}
	// This link leaves the directory.
	if got, want := inside(t, c, "ls", dir+"/cpu0/subsystem/"), "devices"; !strings.Contains(got, want) {
		t.Errorf("cpu0/subsystem has %q, want %s", got, want)
	}
}

// TestCPUsChange checks that a new CPU limit changes the CPU directory.
func TestCPUsChange(t *testing.T) {
	if hostCPUs() < 2 {
		t.Fatal("the machine has a single CPU, want two")
	}
	c := start(t, ctr.Options{Quota: 200000})
	const list = "cd /sys/devices/system/cpu; echo cpu[0-9]* $(cat online)"
	period := uint64(100000)
	for _, tt := range []struct {
		quota int64
		want  string
	}{{200000, "cpu0 cpu1 0-1\n"}, {100000, "cpu0 0\n"}, {200000, "cpu0 cpu1 0-1\n"}} {
		r := specs.LinuxResources{CPU: &specs.LinuxCPU{Quota: &tt.quota, Period: &period}}
		if err := c.Update(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		if got := inside(t, c, "sh", "-c", list); got != tt.want {
			t.Errorf("with a quota of %d: %q, want %q", tt.quota, got, tt.want)
		}
	}
}

// TestHostReads checks that a reader on the host gets the host's values.
func TestHostReads(t *testing.T) {
	for _, name := range []string{"cpuinfo", "swaps", "partitions"} {
		out := hostFile(t, filepath.Join(shared.daemon.Mountpoint, "proc", name))
		if want := hostFile(t, filepath.Join("/proc", name)); withoutMHz(out) != withoutMHz(want) {
			t.Errorf("%s: %q, want %q", name, out, want)
		}
	}
	meminfo := hostFile(t, filepath.Join(shared.daemon.Mountpoint, "proc/meminfo"))
	if got, want := field(t, meminfo, "MemTotal"), field(t, hostFile(t, "/proc/meminfo"), "MemTotal"); got != want {
		t.Errorf("MemTotal %d, want %d", got, want)
	}
}

func withoutMHz(cpuinfo string) string {
	return regexp.MustCompile(`(?m)^cpu MHz.*$`).ReplaceAllString(cpuinfo, "")
}
