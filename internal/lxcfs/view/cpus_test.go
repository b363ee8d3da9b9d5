package view_test

import (
	"slices"
	"strings"
	"testing"

	"palisade/internal/linux/cgroup"
	"palisade/internal/linux/cpulist"
	"palisade/internal/linux/procfs"
	"palisade/internal/lxcfs/view"
)

func TestCPUs(t *testing.T) {
	quota := func(usec uint64) cgroup.Quota { return cgroup.Quota{Usec: usec, Period: 100000} }
	none, largest := cgroup.Quota{}, cgroup.Quota{Usec: 1<<64 - 1, Period: 1}
	for _, tt := range []struct {
		name, online, cpuset string
		quota                cgroup.Quota
		want                 []int
		onlineText           string
		offlineText          string // with the possible CPUs 0-7
	}{
		{"cpuset", "0-7", "2,5-6", none, []int{2, 5, 6}, "0-2\n", "3-7\n"},
		{"all", "0-7", "0-7", none, []int{0, 1, 2, 3, 4, 5, 6, 7}, "0-7\n", "\n"},
		{"one", "0-7", "3", none, []int{3}, "0\n", "1-7\n"},
		{"offline CPUs do not count", "0,2-7", "0-3", none, []int{0, 2, 3}, "0-2\n", "3-7\n"},
		{"cpuset beyond the host", "0-3", "0-63", none, []int{0, 1, 2, 3}, "0-3\n", "4-7\n"},
		{"cpuset all offline", "0-1", "4-5", none, []int{0, 1}, "0-1\n", "2-7\n"},
		{"empty cpuset", "0-1", "", none, []int{0, 1}, "0-1\n", "2-7\n"},
		{"quota is rounded up", "0-7", "1-7", quota(150000), []int{1, 2}, "0-1\n", "2-7\n"},
		{"quota of a part", "0-7", "1-7", quota(1000), []int{1}, "0\n", "1-7\n"},
		{"quota above the cpuset", "0-7", "4,6", quota(400000), []int{4, 6}, "0-1\n", "2-7\n"},
		{"largest quota", "0-1", "0-1", largest, []int{0, 1}, "0-1\n", "2-7\n"},
		{"nothing online", "", "", none, []int{0}, "0\n", "1-7\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			online, set, present := cpus(t, tt.online), cpus(t, tt.cpuset), cpus(t, "0-7")
			var c view.CPUs
			c.Set(&present, &present, cgroup.Quota{}) // must be replaced
			c.Set(&online, &set, tt.quota)
			var got []int
			for i := range c.Len() {
				got = append(got, c.Host(i))
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("CPUs: got %v, want %v", got, tt.want)
			}
			if got := string(view.CPUOnline(nil, &c)); got != tt.onlineText {
				t.Errorf("online: got %q, want %q", got, tt.onlineText)
			}
			if got := string(view.CPUOffline(nil, &present, &c)); got != tt.offlineText {
				t.Errorf("offline: got %q, want %q", got, tt.offlineText)
			}
			if c.Quota() != tt.quota {
				t.Errorf("quota: got %v, want %v", c.Quota(), tt.quota)
			}
		})
	}
}

func TestOneToOne(t *testing.T) {
	for _, tt := range []struct {
		name  string
		quota cgroup.Quota
		want  []int
	}{
		{"no quota", cgroup.Quota{}, []int{1, 3}},
		{"quota of all", cgroup.Quota{Usec: 2, Period: 1}, []int{1, 3}},
		{"quota of fewer", cgroup.Quota{Usec: 1, Period: 1}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			online, set := cpulist.Of(0, 1, 2, 3), cpulist.Of(1, 3)
			var c view.CPUs
			c.Set(&online, &set, tt.quota)
			if got := c.OneToOne(); !slices.Equal(got, tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

// TestCpuinfoKeepsOtherLines shows all CPUs: only lines with replaced numbers may differ from the
// host's.
func TestCpuinfoKeepsOtherLines(t *testing.T) {
	replaced := []string{
		"processor", "physical id", "siblings", "core id", "cpu cores", "apicid", "initial apicid",
		"cpu number",
	}
	for _, host := range append(slices.Clone(hosts), cpuinfoHosts...) {
		t.Run(host, func(t *testing.T) {
			text := hostFile(t, host, "proc/cpuinfo")
			info, err := procfs.ParseCpuinfo(text)
			if err != nil {
				t.Fatal(err)
			}
			online := cpulist.Of()
			for _, s := range info.Sections {
				online.Add(s.CPU)
			}
			var c view.CPUs
			c.Set(&online, &online, cgroup.Quota{})
			got := strings.Split(string(view.Cpuinfo(nil, info, &c)), "\n")
			want := strings.Split(string(text), "\n")
			if len(got) != len(want) {
				t.Fatalf("got %d lines, want %d", len(got), len(want))
			}
			for i := range got {
				key, _, _ := strings.Cut(want[i], ":")
				if !slices.Contains(replaced, strings.TrimSpace(key)) && got[i] != want[i] {
					t.Errorf("line %d: got %q, want %q", i+1, got[i], want[i])
				}
				if !strings.HasPrefix(got[i], key) {
					t.Errorf("line %d: got %q, want the key %q", i+1, got[i], key)
				}
			}
		})
	}
}

// TestCpuinfoNumbers checks all numbers in each section on x86.
func TestCpuinfoNumbers(t *testing.T) {
	h := loadHost(t, "5.10-x86_64")
	set := cpulist.Of(3, 7, 12)
	var c view.CPUs
	c.Set(&h.online, &set, cgroup.Quota{})
	blocks := strings.Split(strings.TrimSpace(string(view.Cpuinfo(nil, h.cpuinfo, &c))), "\n\n")
	if len(blocks) != 3 {
		t.Fatalf("got %d blocks, want 3", len(blocks))
	}
	for i, block := range blocks {
		n := string(rune('0' + i))
		for _, want := range []string{
			"processor\t: " + n, "physical id\t: " + n, "siblings\t: 1", "core id\t\t: 0",
			"cpu cores\t: 1", "apicid\t\t: " + n, "initial apicid\t: " + n,
			"cpu MHz\t\t: " + []string{"2901.110", "2902.590", "2904.440"}[i],
		} {
			if !slices.Contains(strings.Split(block, "\n"), want) {
				t.Errorf("block %d: no line %q in\n%s", i, want, block)
			}
		}
	}
}

// TestCpuinfoWithoutVisibleCPU has none of the visible CPUs in the file, as after a hotplug.
func TestCpuinfoWithoutVisibleCPU(t *testing.T) {
	info, err := procfs.ParseCpuinfo([]byte("# processors : 2\n\nprocessor : 4\ncore id : 3\n\n" +
		"processor : 5\n\nMMU : x\n"))
	if err != nil {
		t.Fatal(err)
	}
	online := cpulist.Of(0, 1)
	var c view.CPUs
	c.Set(&online, &online, cgroup.Quota{})
	want := "> # processors : 1\n\nprocessor : 0\ncore id : 0\n\nMMU : x\n"
	if got := string(view.Cpuinfo([]byte("> "), info, &c)); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
