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
		if cpu, ok := cpuNumber(name); ok != (want >= 0) || ok && cpu != want {
			t.Errorf("%s: got %d, %v, want %d", name, cpu, ok, want)
		}
	}
}

// TestCPUNames maps names for a container with the CPUs 2 and 5 of the host, and for the host.
func TestCPUNames(t *testing.T) {
	online, allowed := cpulist.Of(0, 1, 2, 3, 4, 5), cpulist.Of(2, 5)
	var cpus view.CPUs
	cpus.Set(&online, &allowed, cgroup.Quota{})
	for _, tt := range []struct{ dir, container, host string }{
		{".", "cpu0", "cpu2"}, {".", "cpu1", "cpu5"}, {".", "cpu2", ""}, {".", "", "cpu0"}, {".", "cpufreq", "cpufreq"},
		{".", "online", "online"}, {"cpu2", "topology", "topology"}, {"cpu2", "cpu9", "cpu9"},
	} {
		if tt.container != "" {
			if got := toHost(tt.dir, tt.container, &cpus); got != tt.host {
				t.Errorf("toHost(%q, %q) = %q, want %q", tt.dir, tt.container, got, tt.host)
			}
		}
		if tt.host == "" {
			continue
		}
		if got := toReader(tt.dir, tt.host, &cpus); got != tt.container {
			t.Errorf("toReader(%q, %q) = %q, want %q", tt.dir, tt.host, got, tt.container)
		}
		if got := toHost(tt.dir, tt.host, nil); got != tt.host {
			t.Errorf("toHost(%q, %q) of the host = %q", tt.dir, tt.host, got)
		}
	}
}

// TestThrottleIsHidden looks up the directory that engines mask.
func TestThrottleIsHidden(t *testing.T) {
	root := t.TempDir()
	for _, dir := range []string{"cpu0/thermal_throttle", "cpu0/topology"} {
		if err := os.MkdirAll(filepath.Join(root, "devices/system/cpu", dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	d, err := openCPUTree(nil, root)
	if err != nil {
		t.Fatal(err)
	}
	defer d.root.Close()
	if entries, err := d.list("cpu0"); err != nil || len(entries) != 1 || entries[0].Name != "topology" {
		t.Errorf("cpu0 has %v, %v", entries, err)
	}
	if _, err := d.stat("cpu0/thermal_throttle"); !errors.Is(err, syscall.ENOENT) {
		t.Errorf("stat: %v", err)
	}
}
