package procfs

import (
	"strings"
	"testing"
)

// TestThisHost reads the files of the machine that runs the test.
func TestThisHost(t *testing.T) {
	fs, err := New("/proc", "/sys")
	if err != nil {
		t.Skipf("no procfs or sysfs here: %v", err)
	}
	defer fs.Close()
	m, err := fs.Meminfo()
	if err != nil {
		t.Fatal(err)
	}
	info, err := fs.Sysinfo()
	if err != nil {
		t.Fatal(err)
	}
	// In a container with a virtual meminfo sysinfo(2) has more, otherwise the same.
	if got, low := info.MemTotal/1024, m.Values[MemTotal]; got < low {
		t.Errorf("MemTotal: got %d kB from sysinfo, want at least %d kB as in meminfo", got, low)
	}
	online, err := fs.Online()
	if err != nil {
		t.Fatal(err)
	}
	c, err := fs.Cpuinfo()
	if err != nil {
		t.Fatal(err)
	}
	for cpu := online.Next(0); cpu >= 0; cpu = online.Next(cpu + 1) {
		if !strings.Contains(cpuinfoText(c), "["+uintText(uint64(cpu))+"]") {
			t.Errorf("cpuinfo has no CPU %d", cpu)
		}
	}
	for name, read := range map[string]func() error{
		"stat":       func() error { _, err := fs.Stat(); return err },
		"swaps":      func() error { _, err := fs.Swaps(); return err },
		"diskstats":  func() error { _, err := fs.Diskstats(); return err },
		"partitions": func() error { _, err := fs.Partitions(); return err },
		"possible":   func() error { _, err := fs.Possible(); return err },
	} {
		if err := read(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
