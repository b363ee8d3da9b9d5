package cgroup

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"

	"palisade/internal/cpulist"
)

const (
	v2Mount  = "31 23 0:28 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
	v1Memory = "32 31 0:29 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
	v1CPU    = "33 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
	v1Set    = "34 31 0:31 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n"
	v1IO     = "35 31 0:32 / /sys/fs/cgroup/blkio rw - cgroup cgroup rw,blkio\n"
	v1Pids   = "36 31 0:33 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n"
	v1Name   = "37 31 0:34 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n"
	hybrid   = "38 31 0:35 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
	allV1    = v1Memory + v1CPU + v1Set + v1IO + v1Pids + v1Name

	v1Dir = "/sys/fs/cgroup/"
	v2Dir = "/sys/fs/cgroup"
)

// tree makes the files below a new root, and returns the file systems that the mount table shows in it.
func tree(t testing.TB, mounts string, files map[string]string) (*FS, string) {
	t.Helper()
	root := t.TempDir()
	for path, text := range files {
		if err := os.MkdirAll(filepath.Join(root, filepath.Dir(path)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, path), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	fs, err := Detect([]byte(mounts), root)
	if err != nil {
		t.Fatal(err)
	}
	return fs, root
}

// open opens the group at path in all hierarchies.
func open(t testing.TB, fs *FS, path string) *Group {
	t.Helper()
	p := Paths{make([]string, len(fs.hierarchies))}
	for i := range p.of {
		p.of[i] = path
	}
	g := fs.Open(p)
	t.Cleanup(g.Close)
	return g
}

func testdata(t testing.TB, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// memoryV1Files is a group with the memory.stat of a kernel.
func memoryV1Files(stat, usage, both, swappiness string) map[string]string {
	dir := v1Dir + "memory/c/"
	files := map[string]string{dir + "memory.stat": stat, dir + "memory.usage_in_bytes": usage + "\n"}
	if both != "" {
		files[dir+"memory.memsw.usage_in_bytes"] = both + "\n"
		files[dir+"memory.swappiness"] = swappiness + "\n"
	}
	return files
}

func TestMemoryV1(t *testing.T) {
	limits := func(memory, both string) string {
		return "cache 1\nhierarchical_memory_limit " + memory + "\nhierarchical_memsw_limit " + both + "\ntotal_cache 7\n"
	}
	tests := []struct {
		name  string
		files map[string]string
		want  Memory
	}{
		{"4.19", memoryV1Files(testdata(t, "v1-4.19/memory.stat"), "50000000", "50409600", "60"), Memory{
			Limit: 268435456, Usage: 50000000, Swap: Swap{Accounted: true, Limit: 268435456, Usage: 409600},
			Stat: MemoryStat{
				File: 41498240, Anon: 6271552, AnonTHP: 2097152, Shmem: 135168, FileMapped: 7839744, FileDirty: 4096, FileWriteback: 8192,
				InactiveAnon: 131072, ActiveAnon: 6275648, InactiveFile: 33195648, ActiveFile: 8167424,
			}}},
		{"6.18", memoryV1Files(testdata(t, "v1-6.18/memory.stat"), "22831104", "22831104", "60"), Memory{
			Limit: 67108864, Usage: 22831104, Swap: Swap{Accounted: true, Limit: 67108864},
			Stat: MemoryStat{
				File: 21192704, Anon: 249856, FileMapped: 147456, FileDirty: 20975616, InactiveAnon: 126976, ActiveAnon: 4096,
				InactiveFile: 21184512, ActiveFile: 8192,
			}}},
		{"no limit", memoryV1Files(limits("9223372036854771712", "9223372036854771712"), "5", "8", "60"),
			Memory{Limit: NoLimit, Usage: 5, Swap: Swap{Accounted: true, Limit: NoLimit, Usage: 3}, Stat: MemoryStat{File: 7}}},
		{"no limit with pages of 64 KiB", memoryV1Files(limits("9223372036854710272", "9223372036854710272"), "5", "8", "60"),
			Memory{Limit: NoLimit, Usage: 5, Swap: Swap{Accounted: true, Limit: NoLimit, Usage: 3}, Stat: MemoryStat{File: 7}}},
		{"a limit of 0 is none", memoryV1Files(limits("0", "0"), "5", "5", "60"),
			Memory{Limit: NoLimit, Usage: 5, Swap: Swap{Accounted: true, Limit: NoLimit}, Stat: MemoryStat{File: 7}}},
		{"only memory is limited", memoryV1Files(limits("1000", "9223372036854771712"), "5", "5", "60"),
			Memory{Limit: 1000, Usage: 5, Swap: Swap{Accounted: true, Limit: NoLimit}, Stat: MemoryStat{File: 7}}},
		{"unsigned wrap-around: less with swap than without", memoryV1Files(limits("1000", "900"), "50", "40", "60"),
			Memory{Limit: 1000, Usage: 50, Swap: Swap{Accounted: true}, Stat: MemoryStat{File: 7}}},
		{"swappiness 0", memoryV1Files(limits("1000", "5000"), "50", "70", "0"),
			Memory{Limit: 1000, Usage: 50, Swap: Swap{Accounted: true, Limit: 20, Usage: 20}, Stat: MemoryStat{File: 7}}},
		{"swap is not accounted", memoryV1Files("hierarchical_memory_limit 1000\ntotal_cache 7\n", "50", "", ""),
			Memory{Limit: 1000, Usage: 50, Stat: MemoryStat{File: 7}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			fs, _ := tree(t, allV1, tt.files)
			var got Memory
			if err := open(t, fs, "/c").Memory(&got, new(Scratch)); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got  %+v\nwant %+v", got, tt.want)
			}
		})
	}
}

func TestMemoryV2(t *testing.T) {
	base := MemoryStat{
		Anon: 41943040, File: 20971520, KernelStack: 131072, Percpu: 8192, Shmem: 4096, FileMapped: 1351680, FileDirty: 135168,
		FileWriteback: 4096, AnonTHP: 2097152, InactiveAnon: 1000000, ActiveAnon: 40943040, InactiveFile: 15000000,
		ActiveFile: 5971520, Unevictable: 12288, SlabReclaimable: 700000, SlabUnreclaimable: 300000, Slab: 1000000,
	}
	since61 := base
	since61.PageTables, since61.SwapCached = 262144, 8192
	since66 := since61
	since66.SecPageTables, since66.Zswap, since66.Zswapped, since66.FileTHP = 4096, 16384, 65536, 2097152
	for version, want := range map[string]MemoryStat{"5.10": base, "6.1": since61, "6.6": since66, "6.18": since66} {
		t.Run(version, func(t *testing.T) {
			fs, _ := tree(t, v2Mount, map[string]string{
				v2Dir + "/a/b/memory.stat": testdata(t, "v2-"+version+"/memory.stat"), v2Dir + "/a/b/memory.current": "65536000\n",
				v2Dir + "/a/b/memory.max": "max\n", v2Dir + "/a/memory.max": "104857600\n",
				v2Dir + "/a/b/memory.swap.current": "4096\n", v2Dir + "/a/b/memory.swap.max": "8192000\n", v2Dir + "/a/memory.swap.max": "max\n",
			})
			var got Memory
			if err := open(t, fs, "/a/b").Memory(&got, new(Scratch)); err != nil {
				t.Fatal(err)
			}
			all := Memory{Limit: 104857600, Usage: 65536000, Stat: want, Swap: Swap{Accounted: true, Limit: 8192000, Usage: 4096}}
			if !reflect.DeepEqual(got, all) {
				t.Errorf("got  %+v\nwant %+v", got, all)
			}
		})
	}
}

// TestPrefixMatching is a trap: the key file is not file_mapped, nor slab slab_reclaimable.
func TestPrefixMatching(t *testing.T) {
	var m MemoryStat
	m.parseV2([]byte("file_mapped 1\nfile 2\nfile_dirty 3\nslab_reclaimable 4\nanon_thp 5\n"))
	if want := (MemoryStat{FileMapped: 1, File: 2, FileDirty: 3, SlabReclaimable: 4, AnonTHP: 5}); m != want {
		t.Errorf("got %+v, want %+v", m, want)
	}
	m = MemoryStat{}
	m.parseV1([]byte("cache 9\ntotal_cache 1\ntotal_rss_huge 2\nrss 9\n"))
	if want := (MemoryStat{File: 1, AnonTHP: 2}); m != want {
		t.Errorf("got %+v, want %+v", m, want)
	}
}

// TestV1NamesOnV2 is a trap: cpuacct and blkio are no controllers of v2, but their figures are there.
func TestV1NamesOnV2(t *testing.T) {
	fs, _ := tree(t, v2Mount, map[string]string{
		v2Dir + "/c/cpu.stat": testdata(t, "v2-6.1/cpu.stat"), v2Dir + "/c/io.stat": testdata(t, "v2-6.1/io.stat"),
	})
	g := open(t, fs, "/c")
	var u CPUUsage
	if err := g.CPUUsage(&u, new(Scratch)); err != nil || u.Total != (CPUTime{User: 3e9, System: 2e9}) {
		t.Errorf("CPU usage %+v, %v", u, err)
	}
	want := []DeviceIO{
		{Major: 254, Reads: 100, ReadBytes: 4096000, Writes: 2, WriteBytes: 8192, Discards: 1, DiscardBytes: 1024},
		{Major: 8, Minor: 16, Reads: 1, ReadBytes: 1},
	}
	if got, err := g.IO(nil, new(Scratch)); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("I/O %+v, %v; want %+v", got, err, want)
	}
}

func TestQuota(t *testing.T) {
	tests := []struct {
		name      string
		v1        bool
		own, over string
		want      Quota
	}{
		{"v2, none", false, "max 100000", "max 100000", Quota{}},
		{"v2, its own", false, "150000 100000", "max 100000", Quota{150000, 100000}},
		{"v2, the parent's is lower", false, "150000 100000", "30000 50000", Quota{30000, 50000}},
		{"v2, rubbish", false, "x y", "max", Quota{}},
		{"v1, none", true, "-1", "-1", Quota{}},
		{"v1, its own", true, "50000", "-1", Quota{50000, 100000}},
		{"v1, the parent's is lower", true, "50000", "20000", Quota{20000, 100000}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			mounts, files := v2Mount, map[string]string{v2Dir + "/a/b/cpu.max": tt.own + "\n", v2Dir + "/a/cpu.max": tt.over + "\n"}
			if tt.v1 {
				dir := v1Dir + "cpu,cpuacct/a/"
				mounts, files = allV1, map[string]string{
					dir + "cpu.cfs_quota_us": tt.over + "\n", dir + "cpu.cfs_period_us": "100000\n",
					dir + "b/cpu.cfs_quota_us": tt.own + "\n", dir + "b/cpu.cfs_period_us": "100000\n",
				}
			}
			fs, _ := tree(t, mounts, files)
			if got, err := open(t, fs, "/a/b").Quota(new(Scratch)); err != nil || got != tt.want {
				t.Errorf("got %+v, %v; want %+v", got, err, tt.want)
			}
		})
	}
	for quota, want := range map[Quota]int{{}: 0, {150000, 100000}: 2, {1, 100000}: 1, {200000, 100000}: 2, {math.MaxUint64, 1}: math.MaxInt32} {
		if got := quota.CPUs(); got != want {
			t.Errorf("%+v is %d CPUs, want %d", quota, got, want)
		}
	}
}

// TestCPUSet has the trap that the CPUs asked for are taken for those that are allowed.
func TestCPUSet(t *testing.T) {
	tests := []struct {
		name   string
		mounts string
		files  map[string]string
		want   string
	}{
		{"v2", v2Mount, map[string]string{v2Dir + "/a/b/cpuset.cpus.effective": "0,2-3\n", v2Dir + "/a/b/cpuset.cpus": "0-7\n"}, "0,2-3"},
		{"v2, the controller is off", v2Mount, map[string]string{v2Dir + "/a/cpuset.cpus.effective": "1\n", v2Dir + "/a/b/cgroup.procs": ""}, "1"},
		{"v1", allV1, map[string]string{v1Dir + "cpuset/a/b/cpuset.effective_cpus": "1\n", v1Dir + "cpuset/a/b/cpuset.cpus": "0-7\n"}, "1"},
		{"v1, before Linux 3.17", allV1, map[string]string{v1Dir + "cpuset/a/b/cpuset.cpus": "4-5\n"}, "4-5"},
		{"empty: as the one above", allV1, map[string]string{
			v1Dir + "cpuset/a/b/cpuset.effective_cpus": "\n", v1Dir + "cpuset/a/cpuset.effective_cpus": "2\n"}, "2"},
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

// TestCPUUsage has the trap that times of usage_percpu are counted twice.
func TestCPUUsage(t *testing.T) {
	dir := v1Dir + "cpu,cpuacct/c/"
	tests := []struct {
		name   string
		mounts string
		files  map[string]string
		want   CPUUsage
	}{
		{"v1, usage_all", allV1, map[string]string{
			dir + "cpuacct.usage_all":    testdata(t, "v1-6.18/cpuacct.usage_all"),
			dir + "cpuacct.usage_percpu": testdata(t, "v1-6.18/cpuacct.usage_percpu"),
			dir + "cpuacct.stat":         testdata(t, "v1-6.18/cpuacct.stat"),
		}, CPUUsage{Total: CPUTime{User: 76e6, System: 116e6}, PerCPU: []CPUTime{{User: 76e6, System: 116e6}, {}}}},
		{"v1, before usage_all", allV1, map[string]string{
			dir + "cpuacct.usage_percpu": "3000 1000 \n", dir + "cpuacct.stat": "user 3\nsystem 1\n",
		}, CPUUsage{Total: CPUTime{User: 3000, System: 1000}, PerCPU: []CPUTime{{User: 2250, System: 750}, {User: 750, System: 250}}}},
		{"v2 with nice time, a part of user time", v2Mount, map[string]string{v2Dir + "/c/cpu.stat": testdata(t, "v2-6.18/cpu.stat")},
			CPUUsage{Total: CPUTime{User: 25e8, Nice: 5e8, System: 2e9}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			fs, _ := tree(t, tt.mounts, tt.files)
			var got CPUUsage
			if err := open(t, fs, "/c").CPUUsage(&got, new(Scratch)); err != nil {
				t.Fatal(err)
			}
			if got.Total != tt.want.Total || len(got.PerCPU) != len(tt.want.PerCPU) || len(got.PerCPU) > 0 && !reflect.DeepEqual(got.PerCPU, tt.want.PerCPU) {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestIOV1(t *testing.T) {
	dir := v1Dir + "blkio/c/"
	throttle := map[string]string{
		dir + "blkio.throttle.io_serviced_recursive":      testdata(t, "v1-5.10/blkio.throttle.io_serviced_recursive"),
		dir + "blkio.throttle.io_service_bytes_recursive": testdata(t, "v1-5.10/blkio.throttle.io_service_bytes_recursive"),
	}
	cfq := map[string]string{
		dir + "blkio.throttle.io_serviced_recursive":      "Total 0\n",
		dir + "blkio.throttle.io_service_bytes_recursive": "Total 0\n",
	}
	for _, name := range []string{"io_serviced", "io_service_bytes", "io_merged", "io_service_time", "io_queued"} {
		cfq[dir+"blkio."+name+"_recursive"] = testdata(t, "v1-4.19/blkio."+name+"_recursive")
	}
	tests := []struct {
		name  string
		files map[string]string
		want  []DeviceIO
	}{
		{"throttle", throttle, []DeviceIO{
			{Major: 254, Reads: 77, ReadBytes: 3153920, Writes: 11, WriteBytes: 45056},
			{Major: 253, Minor: 1, Reads: 5, ReadBytes: 20480},
		}},
		{"CFQ, where the throttle files have nothing", cfq, []DeviceIO{{
			Major: 8, Reads: 120, ReadBytes: 4915200, Writes: 40, WriteBytes: 163840, Discards: 2, DiscardBytes: 8192,
			ReadMerges: 3, WriteMerges: 4, ReadNanos: 51000000, WriteNanos: 9000000, InFlight: 3,
		}}},
		{"nothing was done", map[string]string{dir + "blkio.throttle.io_serviced_recursive": "Total 0\n"}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			fs, _ := tree(t, allV1, tt.files)
			got, err := open(t, fs, "/c").IO(nil, new(Scratch))
			if err != nil || !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %+v, %v; want %+v", got, err, tt.want)
			}
		})
	}
}

func TestMissingControllers(t *testing.T) {
	fs, _ := tree(t, v1Memory, map[string]string{v1Dir + "memory/c/cgroup.procs": ""})
	g := open(t, fs, "/c")
	var s Scratch
	_, ioErr := g.IO(nil, &s)
	_, quotaErr := g.Quota(&s)
	_, threadsErr := g.Threads(nil, 10, &s)
	for name, err := range map[string]error{
		"memory": g.Memory(new(Memory), &s), "I/O": ioErr, "quota": quotaErr,
		"cpuset": g.CPUSet(new(cpulist.Set), &s), "CPU usage": g.CPUUsage(new(CPUUsage), &s),
	} {
		if !errors.Is(err, ErrNoController) {
			t.Errorf("%s: %v, want ErrNoController", name, err)
		}
	}
	if threadsErr == nil {
		t.Error("threads of a cgroup that is not there were listed")
	}
	if _, ok := g.Tasks(&s); ok {
		t.Error("tasks were counted without the pids controller")
	}
	if _, ok := g.PressurePath("cpu"); ok {
		t.Error("v1 has a pressure file")
	}
}

// TestFilesThatCome has a controller enabled later: its files are found, soon.
func TestFilesThatCome(t *testing.T) {
	fs, root := tree(t, v2Mount, map[string]string{v2Dir + "/c/cpu.stat": ""})
	g := open(t, fs, "/c")
	var s Scratch
	if got, err := g.Quota(&s); err != nil || got.IsSet() {
		t.Fatalf("got %+v, %v", got, err)
	}
	if err := os.WriteFile(root+v2Dir+"/c/cpu.max", []byte("50000 100000\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for i := range g.chains[0] { // as if the time had passed
		g.chains[0][i].files[fileCPUMax].Store(&opened{})
	}
	if got, err := g.Quota(&s); err != nil || got.Usec != 50000 {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestThreads(t *testing.T) {
	files := map[string]string{
		v2Dir + "/c/cgroup.threads": "1\n2\n", v2Dir + "/c/init.scope/cgroup.threads": "3\n",
		v2Dir + "/c/a/b/cgroup.threads": "4\nrubbish\n0\n-5\n99999999999\n", v2Dir + "/c/a/cgroup.threads": "", v2Dir + "/d/cgroup.threads": "9\n",
	}
	fs, _ := tree(t, v2Mount, files)
	g := open(t, fs, "/c")
	got, err := g.Threads(nil, 100, new(Scratch))
	sum := 0
	for _, tid := range got {
		sum += tid
	}
	if err != nil || len(got) != 4 || sum != 10 {
		t.Errorf("got %v, %v; want 1 to 4", got, err)
	}
	if got, err := g.Threads([]int{7}, 2, new(Scratch)); err != nil || len(got) != 3 || got[0] != 7 {
		t.Errorf("got %v, %v; want 7 and two others", got, err)
	}
	if path, ok := g.PressurePath("io"); !ok || !strings.HasSuffix(path, v2Dir+"/c/io.pressure") {
		t.Errorf("the pressure file is %q, %v", path, ok)
	}
	if _, ok := open(t, fs, "/").PressurePath("io"); ok {
		t.Error("the root has pressure of its own")
	}
}

func TestHugePages(t *testing.T) {
	fs, _ := tree(t, v2Mount, map[string]string{
		"/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages": "1\n", "/sys/kernel/mm/hugepages/hugepages-1048576kB/x": "",
		"/sys/kernel/mm/hugepages/hugepages-64kB/x": "", "/sys/kernel/mm/hugepages/rubbish/x": "",
		v2Dir + "/a/b/hugetlb.2MB.current": "4194304\n", v2Dir + "/a/b/hugetlb.2MB.max": "max\n", v2Dir + "/a/hugetlb.2MB.max": "8388608\n",
		v2Dir + "/a/b/hugetlb.64KB.current": "0\n", v2Dir + "/a/b/hugetlb.64KB.max": "max\n",
	})
	m := Memory{Huge: []HugePages{{PageSize: 1}}}
	if err := open(t, fs, "/a/b").HugePages(&m, new(Scratch)); err != nil {
		t.Fatal(err)
	}
	want := map[HugePages]bool{
		{PageSize: 2 << 20, Limit: 8388608, Usage: 4194304}: true, {PageSize: 64 << 10, Limit: NoLimit}: true,
	}
	if len(m.Huge) != 2 || !want[m.Huge[0]] || !want[m.Huge[1]] {
		t.Errorf("got %+v", m.Huge)
	}
}

// warm is a group with all the files of v1 or v2.
func warm(t testing.TB, v2 bool) *Group {
	t.Helper()
	if v2 {
		files := map[string]string{v2Dir + "/a/b/io.stat": testdata(t, "v2-6.1/io.stat"), v2Dir + "/a/b/cpuset.cpus.effective": "0-3\n",
			v2Dir + "/a/b/cpu.stat": testdata(t, "v2-6.18/cpu.stat"), v2Dir + "/a/b/memory.stat": testdata(t, "v2-6.18/memory.stat"),
			v2Dir + "/a/b/memory.current": "1\n", v2Dir + "/a/b/memory.swap.current": "1\n"}
		for _, dir := range []string{"/a", "/a/b"} {
			files[v2Dir+dir+"/memory.max"], files[v2Dir+dir+"/memory.swap.max"], files[v2Dir+dir+"/cpu.max"] = "max\n", "max\n", "5 10\n"
		}
		fs, _ := tree(t, v2Mount, files)
		return open(t, fs, "/a/b")
	}
	files := make(map[string]string)
	entries, err := os.ReadDir("testdata/v1-6.18")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		controller, _, _ := strings.Cut(e.Name(), ".")
		dir := map[string]string{"cpu": "cpu,cpuacct", "cpuacct": "cpu,cpuacct"}[controller]
		if dir == "" {
			dir = controller
		}
		files[v1Dir+dir+"/a/b/"+e.Name()] = testdata(t, "v1-6.18/"+e.Name())
	}
	files[v1Dir+"blkio/a/b/blkio.throttle.io_serviced_recursive"] = testdata(t, "v1-5.10/blkio.throttle.io_serviced_recursive")
	fs, _ := tree(t, allV1, files)
	return open(t, fs, "/a/b")
}

// TestReadsDoNotAllocate holds the questions of the read path to no allocation once their memory is there.
func TestReadsDoNotAllocate(t *testing.T) {
	for _, v2 := range []bool{false, true} {
		g := warm(t, v2)
		var (
			s   Scratch
			m   Memory
			set cpulist.Set
			u   CPUUsage
			io  []DeviceIO
			err error
		)
		for name, ask := range map[string]func() error{
			"Memory":   func() error { return g.Memory(&m, &s) },
			"CPUSet":   func() error { return g.CPUSet(&set, &s) },
			"CPUUsage": func() error { return g.CPUUsage(&u, &s) },
			"Quota":    func() error { _, err := g.Quota(&s); return err },
			"IO":       func() error { io, err = g.IO(io[:0], &s); return err },
		} {
			if err := ask(); err != nil {
				t.Fatalf("%s, v2 %v: %v", name, v2, err)
			}
			if allocs := testing.AllocsPerRun(50, func() { err = ask() }); allocs != 0 || err != nil {
				t.Errorf("%s, v2 %v: %v allocations, %v", name, v2, allocs, err)
			}
		}
	}
}

func TestManyReaders(t *testing.T) {
	g := warm(t, true)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			var s Scratch
			var m Memory
			for range 200 {
				if err := g.Memory(&m, &s); err != nil || m.Stat.Anon != 41943040 {
					t.Errorf("%+v, %v", m, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func BenchmarkMemory(b *testing.B) {
	for name, v2 := range map[string]bool{"v1": false, "v2": true} {
		b.Run(name, func(b *testing.B) {
			g := warm(b, v2)
			var s Scratch
			var m Memory
			b.ReportAllocs()
			for b.Loop() {
				if err := g.Memory(&m, &s); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
