package lxcfs

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"palisade/internal/linux/cgroup"
	"palisade/internal/linux/cpulist"
	"palisade/internal/lxcfs/view"
)

func TestCPUNumber(t *testing.T) {
	for name, want := range map[string]int{
		"cpu0": 0, "cpu12": 12, "cpu": -1, "cpu01": -1, "cpu+1": -1, "cpu-1": -1, "cpuidle": -1, "cpufreq": -1, "online": -1,
	} {
		if cpu, ok := cpuNumber("cpu", name); ok != (want >= 0) || ok && cpu != want {
			t.Errorf("%s: got %d, %v, want %d", name, cpu, ok, want)
		}
	}
}

func TestNodeNumber(t *testing.T) {
	for p, want := range map[string]int{
		"node/node0": 0, "node/node12": 12, "node": -1, "node/": -1, "node/node01": -1,
		"node/online": -1, "node/node1/cpu0": -1, "cpu/node1": -1,
	} {
		if node, ok := nodeNumber(p); ok != (want >= 0) || ok && node != want {
			t.Errorf("%s: got %d, %v, want %d", p, node, ok, want)
		}
	}
}

// TestNames maps names for a container with the CPUs 2 and 5 and the node 1 of the host, and for the
// host.
func TestNames(t *testing.T) {
	online, allowed := cpulist.Of(0, 1, 2, 3, 4, 5), cpulist.Of(2, 5)
	var cpus view.CPUs
	cpus.Set(&online, &allowed, cgroup.Quota{})
	nodes := cpulist.Of(1)
	v := &visible{&cpus, &nodes}
	var host *visible
	for _, tt := range []struct{ dir, container, host string }{
		{"cpu", "cpu0", "cpu2"}, {"cpu", "cpu1", "cpu5"}, {"cpu", "cpu2", ""}, {"cpu", "", "cpu0"},
		{"cpu", "cpufreq", "cpufreq"}, {"cpu", "online", "online"},
		{"cpu/cpu2", "topology", "topology"}, {"cpu/cpu2", "cpu9", "cpu9"},
		{"cpu/cpu2", "node1", "node1"}, {"cpu/cpu2", "", "node0"}, {"cpu/cpu2", "node0", ""},
		{"node", "node1", "node1"}, {"node", "", "node0"}, {"node", "node0", ""},
		{"node", "online", "online"}, {"node", "cpu9", "cpu9"},
		{"node/node1", "cpu1", "cpu5"}, {"node/node1", "cpu2", ""}, {"node/node1", "", "cpu4"},
		{"node/node1/access0/targets", "", "node0"},
	} {
		if tt.container != "" {
			if got := v.toHost(tt.dir, tt.container); got != tt.host {
				t.Errorf("toHost(%q, %q) = %q, want %q", tt.dir, tt.container, got, tt.host)
			}
		}
		if tt.host == "" {
			continue
		}
		if got := v.toReader(tt.dir, tt.host); got != tt.container {
			t.Errorf("toReader(%q, %q) = %q, want %q", tt.dir, tt.host, got, tt.container)
		}
		if got := host.toHost(tt.dir, tt.host); got != tt.host {
			t.Errorf("toHost(%q, %q) of the host = %q", tt.dir, tt.host, got)
		}
	}
}

// TestNotServed looks up the directory that engines mask, and a block of memory.
func TestNotServed(t *testing.T) {
	root := t.TempDir()
	for _, dir := range []string{
		"cpu/cpu0/thermal_throttle", "cpu/cpu0/topology", "node/node0/memory7", "node/node0/memory_failure",
	} {
		if err := os.MkdirAll(filepath.Join(root, "devices/system", dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	d, err := openSysfsTree(nil, root)
	if err != nil {
		t.Fatal(err)
	}
	defer d.root.Close()
	for dir, want := range map[string]string{"cpu/cpu0": "topology", "node/node0": "memory_failure"} {
		entries, err := d.list(dir)
		if err != nil || len(entries) != 1 || entries[0].Name != want {
			t.Errorf("%s has %v, %v", dir, entries, err)
		}
	}
	for _, p := range []string{"cpu/cpu0/thermal_throttle", "node/node0/memory7"} {
		if _, err := d.stat(p); !errors.Is(err, syscall.ENOENT) {
			t.Errorf("stat %s: %v", p, err)
		}
	}
}
