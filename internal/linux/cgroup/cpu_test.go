package cgroup

import (
	"math"
	"slices"
	"testing"

	"palisade/internal/linux/cpulist"
)

func TestQuota(t *testing.T) {
	tests := []struct {
		name        string
		v1          bool
		own, parent string
		want        Quota
	}{
		{"v2, none", false, "max 100000", "max 100000", Quota{}},
		{"v2, its own", false, "150000 100000", "max 100000", Quota{150000, 100000}},
		{"v2, the parent's is lower", false, "150000 100000", "30000 50000", Quota{30000, 50000}},
		{"v2, malformed", false, "x y", "max", Quota{}},
		{"v1, none", true, "-1", "-1", Quota{}},
		{"v1, its own", true, "50000", "-1", Quota{50000, 100000}},
		{"v1, the parent's is lower", true, "50000", "20000", Quota{20000, 100000}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			mounts, files := v2Mount, map[string]string{
				v2Dir + "/a/b/cpu.max": tt.own + "\n", v2Dir + "/a/cpu.max": tt.parent + "\n",
			}
			if tt.v1 {
				dir := v1Dir + "cpu,cpuacct/a/"
				mounts, files = allV1, map[string]string{
					dir + "cpu.cfs_quota_us": tt.parent + "\n", dir + "cpu.cfs_period_us": "100000\n",
					dir + "b/cpu.cfs_quota_us": tt.own + "\n", dir + "b/cpu.cfs_period_us": "100000\n",
				}
			}
			fs, _ := tree(t, mounts, files)
			if got, err := open(t, fs, "/a/b").Quota(new(Scratch)); err != nil || got != tt.want {
				t.Errorf("got %+v, %v; want %+v", got, err, tt.want)
			}
		})
	}
	for quota, want := range map[Quota]int{
		{}: 0, {150000, 100000}: 2, {1, 100000}: 1, {200000, 100000}: 2,
		{math.MaxUint64, 1}: math.MaxInt32,
	} {
		if got := quota.CPUs(); got != want {
			t.Errorf("%+v is %d CPUs, want %d", quota, got, want)
		}
	}
}

// TestCPUSet has configured CPUs that differ from the effective ones.
func TestCPUSet(t *testing.T) {
	tests := []struct {
		name   string
		mounts string
		files  map[string]string
		want   string
	}{
		{"v2", v2Mount, map[string]string{
			v2Dir + "/a/b/cpuset.cpus.effective": "0,2-3\n", v2Dir + "/a/b/cpuset.cpus": "0-7\n",
		}, "0,2-3"},
		{"v2, controller not enabled", v2Mount, map[string]string{
			v2Dir + "/a/cpuset.cpus.effective": "1\n", v2Dir + "/a/b/cgroup.procs": "",
		}, "1"},
		{"v1", allV1, map[string]string{
			v1Dir + "cpuset/a/b/cpuset.effective_cpus": "1\n",
			v1Dir + "cpuset/a/b/cpuset.cpus":           "0-7\n",
		}, "1"},
		{"empty, so the parent's", allV1, map[string]string{
			v1Dir + "cpuset/a/b/cpuset.effective_cpus": "\n",
			v1Dir + "cpuset/a/cpuset.effective_cpus":   "2\n",
		}, "2"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			fs, _ := tree(t, tt.mounts, tt.files)
			var set cpulist.Set
			if err := open(t, fs, "/a/b").CPUSet(&set, new(Scratch)); err != nil || set.String() != tt.want {
				t.Errorf("got %q, %v; want %q", set, err, tt.want)
			}
		})
	}
}

// TestCPUUsage has v1 files that contain the same times: they must be counted once.
func TestCPUUsage(t *testing.T) {
	dir := v1Dir + "cpu,cpuacct/c/"
	tests := []struct {
		name   string
		mounts string
		files  map[string]string
		want   CPUUsage
		total  uint64
	}{
		{"v1, usage_all", allV1, map[string]string{
			dir + "cpuacct.usage_all":    testdata(t, "v1-6.18/cpuacct.usage_all"),
			dir + "cpuacct.usage_percpu": testdata(t, "v1-6.18/cpuacct.usage_percpu"),
			dir + "cpuacct.usage":        testdata(t, "v1-6.18/cpuacct.usage"),
		}, CPUUsage{ // user time of CPU 0: 175967096*76/(76+116)
			Total:  CPUTime{User: 69653642 + 2471573, System: 106313454},
			PerCPU: []CPUTime{{User: 69653642, System: 106313454}, {User: 2471573}},
		}, 178438669},
		{"v2 with nice time, a part of user time", v2Mount, map[string]string{
			v2Dir + "/c/cpu.stat": testdata(t, "v2-6.18/cpu.stat"),
		}, CPUUsage{Total: CPUTime{User: 25e8, Nice: 5e8, System: 2e9}}, 5e9},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			fs, _ := tree(t, tt.mounts, tt.files)
			var got CPUUsage
			if err := open(t, fs, "/c").CPUUsage(&got, new(Scratch)); err != nil {
				t.Fatal(err)
			}
			total, err := open(t, fs, "/c").CPUTotal(new(Scratch))
			if err != nil || total != tt.total {
				t.Errorf("total %d, %v, want %d", total, err, tt.total)
			}
			if got.Total != tt.want.Total || !slices.Equal(got.PerCPU, tt.want.PerCPU) {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}
