package lxcfs

import (
	"encoding/binary"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"palisade/internal/inject/mounts"
	"palisade/internal/inject/probe"
	"palisade/internal/linux/sys"
	"palisade/internal/lxcfs/fakehost"
	"palisade/internal/lxcfs/fusedev"
	"palisade/internal/lxcfs/meter"
	"palisade/internal/lxcfs/persist"
	"palisade/internal/lxcfs/view"
)

// hostFiles are files of a host with 4 CPUs (Linux 6.18, shortened).
var hostFiles = map[string]string{
	"proc/meminfo": "MemTotal:       16303420 kB\nMemFree:         1234567 kB\n" +
		"SwapTotal:       1048576 kB\nSwapFree:        1048576 kB\nVmallocTotal:   34359738367 kB\n",
	"proc/cpuinfo": "processor\t: 0\nmodel name\t: A\n\nprocessor\t: 1\nmodel name\t: A\n\n" +
		"processor\t: 2\nmodel name\t: A\n\nprocessor\t: 3\nmodel name\t: A\n\n",
	"proc/stat": "cpu  40 0 40 400 0 0 0 0 0 0\ncpu0 10 0 10 100 0 0 0 0 0 0\n" +
		"cpu1 10 0 10 100 0 0 0 0 0 0\ncpu2 10 0 10 100 0 0 0 0 0 0\n" +
		"cpu3 10 0 10 100 0 0 0 0 0 0\nintr 1\nctxt 2\nbtime 1700000000\nprocesses 9999\n" +
		"procs_running 7\nprocs_blocked 8\n",
	"proc/uptime":     "123456.78 400000.00\n",
	"proc/swaps":      "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n",
	"proc/diskstats":  "   8       0 sda 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17\n",
	"proc/partitions": "major minor  #blocks  name\n\n   8        0  500 sda\n",
	"proc/loadavg":    "9.99 9.99 9.99 7/999 9999\n",
	"proc/vmstat": "nr_free_pages 1000\nnr_anon_pages 2000\nnr_dirty_threshold 300\npgpgin 4000\n" +
		"pgpgout 5000\npgalloc_dma 6000\npgfault 7000\noom_kill 8000\n",
	"proc/slabinfo":                        "slabinfo - version: 2.1\n# name\nhost 1\n",
	"proc/pressure/cpu":                    "some avg10=9.99\n",
	"proc/pressure/memory":                 "some avg10=9.99\n",
	"proc/pressure/io":                     "some avg10=9.99\n",
	"sys/devices/system/cpu/online":        "0-3\n",
	"sys/devices/system/cpu/present":       "0-3\n",
	"sys/devices/system/cpu/possible":      "0-7\n",
	"sys/devices/system/cpu/offline":       "4-7\n",
	"sys/devices/system/cpu/cpu0/core_id":  "0\n",
	"sys/devices/system/cpu/cpu1/core_id":  "1\n",
	"sys/devices/system/cpu/cpu2/core_id":  "2\n",
	"sys/devices/system/cpu/cpu3/online":   "1\n",
	"sys/devices/system/cpu/cpu3/core_id":  "3\n",
	"sys/devices/system/cpu/cpufreq/boost": "1\n",

	"sys/devices/system/cpu/cpu1/topology/core_siblings":      "0f\n",
	"sys/devices/system/cpu/cpu1/topology/core_cpus_list":     "0-1\n",
	"sys/devices/system/cpu/cpu1/cache/index0/shared_cpu_map": "03\n",

	"sys/devices/system/node/online":     "0-1\n",
	"sys/devices/system/node/possible":   "0-3\n",
	"sys/devices/system/node/has_cpu":    "0-1\n",
	"sys/devices/system/node/has_memory": "0-1\n",
	"sys/block/sda/size":                 "1000\n",
	"sys/dev/block/8:0/dev":              "8:0\n",
}

// containerFiles are the files of a container's cgroup: 2 CPUs and 1 GiB.
var containerFiles = map[string]string{
	"memory.max": "1073741824\n", "memory.current": "536870912\n",
	"memory.swap.max": "0\n", "memory.swap.current": "0\n",
	"memory.stat": "anon 1048576\nfile 2097152\nkernel_stack 0\nactive_file 1024\n" +
		"inactive_file 1024\nslab_reclaimable 4096\n",
	"cpuset.cpus.effective": "1,3\n", "cpu.max": "max 100000\n",
	"cpu.stat":     "usage_usec 3000000\nuser_usec 2000000\nsystem_usec 1000000\n",
	"io.stat":      "8:0 rbytes=1024 wbytes=2048 rios=1 wios=2 dbytes=0 dios=0\n",
	"pids.current": "1\n",

	"cpuset.mems.effective": "1\n", "memory.events": "low 0\noom 2\noom_kill 1\n",
	"memory.numa_stat": "anon N0=0 N1=1048576\nfile N0=0 N1=2097152\n",
	"cpu.pressure":     "some avg10=1.00\n", "io.pressure": "some avg10=2.00\n",
	"memory.pressure": "some avg10=3.00\n",
}

// newFake returns the file system of a fake host, and the pid of the init of a container on it.
func newFake(t testing.TB) (f *FS, h *fakehost.Host, init int) {
	t.Helper()
	h, init = newFakeHost(t)
	return newFakeFS(t, h), h, init
}

// newFakeHost returns a fake host, and the pid of the init of a container on it.
func newFakeHost(t testing.TB) (h *fakehost.Host, init int) {
	t.Helper()
	h = fakehost.New(t)
	for name, text := range hostFiles {
		h.Write(name, text)
	}
	writeNode(h, 0, "0-1")
	writeNode(h, 1, "2-3")
	for name, text := range containerFiles {
		h.Write("cgroup/a/"+name, text)
	}
	h.Write("cgroup/cpu.pressure", "some avg10=9.99\n")
	return h, h.Start(fakehost.Process{PIDNS: "a", MountNS: "a", NSPids: "1", Cgroup: "/a"})
}

// writeNode writes the files of a NUMA node with 8 GiB and the CPUs.
func writeNode(h *fakehost.Host, node int, cpus string) {
	dir := fmt.Sprintf("sys/devices/system/node/node%d/", node)
	meminfo := ""
	for _, line := range []string{
		"MemTotal:        8388608 kB", "MemFree:         4194304 kB", "MemUsed:         4194304 kB",
		"AnonPages:          9999 kB", "HugePages_Total:     0",
	} {
		meminfo += fmt.Sprintf("Node %d %s\n", node, line)
	}
	for name, text := range map[string]string{
		"cpulist": cpus + "\n", "cpumap": fmt.Sprintf("%02x\n", 3<<(2*node)), "meminfo": meminfo, "memory7/state": "online\n",
		"distance": "10 21\n", "numastat": "numa_hit 77\nnuma_miss 0\n",
		"vmstat": "nr_free_pages 88\nnr_anon_pages 99\nnuma_hit 77\n", "hugepages/x": "1\n",
	} {
		h.Write(dir+name, text)
	}
	for cpu := 2 * node; cpu < 2*node+2; cpu++ {
		h.Link(fmt.Sprintf("../../cpu/cpu%d", cpu), fmt.Sprintf("%scpu%d", dir, cpu))
		h.Link(fmt.Sprintf("../../node/node%d", node), fmt.Sprintf("sys/devices/system/cpu/cpu%d/node%d", cpu, node))
	}
}

// newFakeFS returns the file system of a fake host.
func newFakeFS(t testing.TB, h *fakehost.Host) *FS {
	t.Helper()
	f, err := New(Options{
		Memory: view.MemOptions{Swap: true, Zswap: true}, Quota: true, Loadavg: true,
		ProcRoot: filepath.Join(h.Dir, "proc"), SysRoot: filepath.Join(h.Dir, "sys"),
		Meter: meter.NewPrivate(), Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	f.kept = persist.Open(filepath.Join(t.TempDir(), "guests"), 8, f.isRunning, f.opts.Log)
	f.keepSize = func(uint64) error { return nil }
	return f
}

// readFake returns what the thread tid reads from a node.
func readFake(t testing.TB, f *FS, id uint64, tid int) string {
	t.Helper()
	r := fusedev.Request{Node: id, TID: uint32(tid)}
	number, errno := f.Open(&r, syscall.O_RDONLY)
	if errno != 0 {
		t.Fatalf("open node %#x: %v", id, errno)
	}
	defer f.Release(&r, number)
	text, errno := f.Read(&r, number, 0, 64<<10, nil)
	if errno != 0 {
		t.Fatalf("read node %#x: %v", id, errno)
	}
	return string(text)
}

// lookupFake returns the id of a path below the root, as the thread tid finds it.
func lookupFake(t *testing.T, f *FS, path string, tid int) (uint64, fuse.Status) {
	t.Helper()
	id := uint64(idRoot)
	for name := range strings.SplitSeq(path, "/") {
		header := fuse.InHeader{NodeId: id, Caller: fuse.Caller{Pid: uint32(tid)}}
		var out fuse.EntryOut
		if status := newMeta(f).Lookup(nil, &header, name, &out); !status.Ok() {
			return 0, status
		}
		id = out.NodeId
	}
	return id, fuse.OK
}

// listFake returns the names in a directory.
func listFake(t *testing.T, f *FS, id uint64, tid int) (names []string) {
	t.Helper()
	r := &fusedev.Request{Node: id, TID: uint32(tid)}
	tree, err := f.subtree(r)
	if err != nil {
		t.Fatal(err)
	}
	entries, err := tree.entries(r)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name)
	}
	slices.Sort(names)
	return names
}

// TestUptimeIdle checks that the idle time of uptime is that of stat, with a quota of half a CPU and
// after it was lowered.
func TestUptimeIdle(t *testing.T) {
	f, h, init := newFake(t)
	idle := func(id uint64, field int) (hundredths int) {
		t.Helper()
		fields := strings.Fields(readFake(t, f, id, init))
		n, err := strconv.Atoi(strings.Replace(fields[field], ".", "", 1))
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	for _, quota := range []string{"50000", "10000"} {
		h.Write("cgroup/a/cpu.max", quota+" 100000\n")
		before, got, after := idle(idStat, 4), idle(idUptime, 1), idle(idStat, 4)
		if got < before || got > after {
			t.Errorf("quota %s: uptime has %d hundredths of a second, stat %d before and %d after",
				quota, got, before, after)
		}
	}
}

// TestContainerFiles reads each file in a container and on the host.
func TestContainerFiles(t *testing.T) {
	f, _, init := newFake(t)
	for _, tt := range []struct {
		file string
		want []string // lines, or their beginnings
	}{
		{"proc/meminfo", []string{"MemTotal:        1048576 kB", "MemFree:          524288 kB",
			"VmallocTotal:   34359738367 kB"}},
		{"proc/cpuinfo", []string{"processor\t: 0", "processor\t: 1"}},
		{"proc/stat", []string{"cpu  ", "cpu0 ", "cpu1 ", "procs_running 1", "procs_blocked 0"}},
		{"proc/swaps", []string{"Filename"}},
		{"proc/partitions", []string{"major minor  #blocks  name"}},
		{"proc/loadavg", []string{"0.00 0.00 0.00 1/1 1"}},
		{"proc/slabinfo", []string{"slabinfo - version: 2.1"}},
		{"proc/pressure/cpu", []string{"some avg10=1.00"}},
		{"proc/pressure/io", []string{"some avg10=2.00"}},
		{"proc/pressure/memory", []string{"some avg10=3.00"}},
		{"sys/devices/system/cpu/online", []string{"0-1"}},
		{"sys/devices/system/cpu/present", []string{"0-1"}},
		{"sys/devices/system/cpu/offline", []string{"2-7"}},
		{"sys/devices/system/cpu/possible", []string{"0-7"}},
		{"sys/devices/system/cpu/cpu0/core_id", []string{"1"}},
		{"sys/devices/system/cpu/cpu1/core_id", []string{"3"}},
		{"sys/devices/system/cpu/cpu1/online", []string{"1"}},
		{"sys/devices/system/cpu/cpufreq/boost", []string{"1"}},
		{"sys/devices/system/cpu/cpu0/topology/core_siblings", []string{"03\n"}},
		{"sys/devices/system/cpu/cpu0/topology/core_cpus_list", []string{"0\n"}},
		{"sys/devices/system/cpu/cpu0/cache/index0/shared_cpu_map", []string{"01\n"}},
		{"proc/vmstat", []string{"nr_free_pages 131072\nnr_anon_pages 256\nnr_dirty_threshold 300\n" +
			"pgpgin 1\npgpgout 2\npgalloc_dma 0\npgfault 0\noom_kill 1\n"}},
		{"sys/devices/system/node/online", []string{"1\n"}},
		{"sys/devices/system/node/possible", []string{"0-3\n"}},
		{"sys/devices/system/node/has_cpu", []string{"1\n"}},
		{"sys/devices/system/node/has_memory", []string{"1\n"}},
		{"sys/devices/system/node/node1/cpulist", []string{"1\n"}},
		{"sys/devices/system/node/node1/cpumap", []string{"02\n"}},
		{"sys/devices/system/node/node1/distance", []string{"21\n"}},
		{"sys/devices/system/node/node1/numastat", []string{"numa_hit 0\nnuma_miss 0\n"}},
		{"sys/devices/system/node/node1/hugepages/x", []string{"1\n"}},
		{"sys/devices/system/node/node1/meminfo", []string{"Node 1 MemTotal:        1048576 kB\n" +
			"Node 1 MemFree:          524288 kB\nNode 1 MemUsed:          524288 kB\n" +
			"Node 1 AnonPages:          1024 kB\nNode 1 HugePages_Total:     0\n"}},
		{"sys/devices/system/node/node1/vmstat", []string{"nr_free_pages 131072\nnr_anon_pages 256\nnuma_hit 0\n"}},
	} {
		id, status := lookupFake(t, f, tt.file, init)
		if !status.Ok() {
			t.Errorf("%s: %v", tt.file, status)
			continue
		}
		got := readFake(t, f, id, init)
		for _, want := range tt.want {
			if !strings.HasPrefix(got, want) && !strings.Contains(got, "\n"+want) {
				t.Errorf("%s has no %q:\n%s", tt.file, want, got)
			}
		}
		if strings.Contains(got, "\ncpu2") || strings.Contains(got, "processor\t: 2") {
			t.Errorf("%s has a third CPU:\n%s", tt.file, got)
		}
		hostFile := strings.TrimPrefix(tt.file, "proc/")
		if host := hostFiles[tt.file]; hostFile != tt.file {
			if got := readFake(t, f, id, os.Getpid()); got != host {
				t.Errorf("%s: the host reads %q, want %q", tt.file, got, host)
			}
		}
	}
	for kind := range meter.Panic + 1 {
		counts, err := f.meter.Counts()
		if err != nil || counts.Errors[kind] != 0 && kind != meter.Stats {
			t.Errorf("%d errors of kind %v, %v", counts.Errors[kind], kind, err)
		}
	}
	f.ToggleVirtualisation()
	if got := readFake(t, f, idMeminfo, init); got != hostFiles["proc/meminfo"] {
		t.Errorf("a container reads %q while containers are switched off", got)
	}
}

// TestCPUDir lists the CPU directory in a container and on the host.
func TestCPUDir(t *testing.T) {
	f, _, init := newFake(t)
	cpuDir, status := lookupFake(t, f, "sys/devices/system/cpu", init)
	if !status.Ok() || cpuDir != idCPUDir {
		t.Fatalf("%#x, %v", cpuDir, status)
	}
	common := []string{"cpufreq", "offline", "online", "possible", "present"}
	for tid, cpus := range map[int][]string{
		init: {"cpu0", "cpu1"}, os.Getpid(): {"cpu0", "cpu1", "cpu2", "cpu3"},
	} {
		want := slices.Sorted(slices.Values(append(cpus, common...)))
		if got := listFake(t, f, cpuDir, tid); !slices.Equal(got, want) {
			t.Errorf("thread %d lists %q, want %q", tid, got, want)
		}
	}
	if _, status := lookupFake(t, f, "sys/devices/system/cpu/cpu2", init); status != fuse.ENOENT {
		t.Errorf("cpu2 in the container: %v", status)
	}
	id, _ := lookupFake(t, f, "sys/devices/system/cpu/cpu1/core_id", init)
	var out fuse.AttrOut
	in := fuse.GetAttrIn{InHeader: fuse.InHeader{NodeId: id}}
	if status := newMeta(f).GetAttr(nil, &in, &out); !status.Ok() || out.Mode&0o222 != 0 || out.Size != 2 {
		t.Errorf("%v: mode %o, size %d", status, out.Mode, out.Size)
	}
	// The next worker finds the file by its id.
	f.sysfs.paths = topPaths()
	if got := readFake(t, f, id, init); got != "3\n" {
		t.Errorf("read %q by the id", got)
	}
	if _, errno := f.Rescue(&fusedev.Request{Node: id}, 0, 0, 10, nil); errno != 0 {
		t.Errorf("rescue: %v", errno)
	}
}

// TestNodeDir lists the NUMA nodes in a container and on the host.
func TestNodeDir(t *testing.T) {
	f, h, init := newFake(t)
	self := os.Getpid()
	const dir = "sys/devices/system/node"
	files := []string{"has_cpu", "has_memory", "online", "possible"}
	ofNode := []string{"cpulist", "cpumap", "distance", "hugepages", "meminfo", "numastat", "vmstat"}
	check := func(path string, tid int, common []string, more ...string) {
		t.Helper()
		want := slices.Sorted(slices.Values(append(slices.Clone(common), more...)))
		id, status := lookupFake(t, f, path, tid)
		if !status.Ok() {
			t.Fatalf("%s: %v", path, status)
		}
		if got := listFake(t, f, id, tid); !slices.Equal(got, want) {
			t.Errorf("thread %d lists %q in %s, want %q", tid, got, path, want)
		}
	}
	check(dir, init, files, "node1")
	check(dir, self, files, "node0", "node1")
	check(dir+"/node1", init, ofNode, "cpu1") // CPU 3 of the host
	check(dir+"/node1", self, ofNode, "cpu2", "cpu3")
	check("sys/devices/system/cpu/cpu1", init, []string{"core_id", "online"}, "node1")
	check("sys/devices/system/cpu/cpu0", init, []string{"cache", "core_id", "topology"}) // CPU 1, on a hidden node
	for path, want := range map[string]string{
		dir + "/node1/cpu1": "../../cpu/cpu1", "sys/devices/system/cpu/cpu1/node1": "../../node/node1",
	} {
		id, _ := lookupFake(t, f, path, init)
		target, status := newMeta(f).Readlink(nil, &fuse.InHeader{NodeId: id, Caller: fuse.Caller{Pid: uint32(init)}})
		if !status.Ok() || string(target) != want {
			t.Errorf("%s leads to %q, %v, want %q", path, target, status, want)
		}
	}
	for _, path := range []string{dir + "/node0", dir + "/node1/cpu0", dir + "/node1/memory7"} {
		if _, status := lookupFake(t, f, path, init); status != fuse.ENOENT {
			t.Errorf("%s in the container: %v", path, status)
		}
	}
	// With both nodes the sum is that of /proc/meminfo, and the next worker finds a file by its id.
	id, _ := lookupFake(t, f, dir+"/node1/meminfo", init)
	h.Write("cgroup/a/cpuset.mems.effective", "0-1\n")
	f.sysfs.paths = topPaths()
	if got, want := readFake(t, f, id, init), "Node 1 MemTotal:         524288 kB\n"; !strings.HasPrefix(got, want) {
		t.Errorf("half of the memory: %q", got)
	}
	id, _ = lookupFake(t, f, dir+"/node1/distance", init)
	if got := readFake(t, f, id, init); got != "10 21\n" {
		t.Errorf("distance %q", got)
	}
}

// TestWithoutNUMA has a kernel without the directory of nodes.
func TestWithoutNUMA(t *testing.T) {
	h, init := newFakeHost(t)
	if err := os.RemoveAll(filepath.Join(h.Dir, "sys/devices/system/node")); err != nil {
		t.Fatal(err)
	}
	f := newFakeFS(t, h)
	if _, status := lookupFake(t, f, "sys/devices/system/node", init); status != fuse.ENOENT {
		t.Errorf("node: %v", status)
	}
	if got := readFake(t, f, idMeminfo, init); !strings.HasPrefix(got, "MemTotal:        1048576 kB\n") {
		t.Errorf("meminfo %q", got)
	}
	if _, status := lookupFake(t, f, "sys/devices/system/cpu/cpu1/core_id", init); !status.Ok() {
		t.Errorf("core_id: %v", status)
	}
}

// TestNodesLimitMemory has a container without a limit that may use one of two nodes.
func TestNodesLimitMemory(t *testing.T) {
	f, h, init := newFake(t)
	f.host.Sysinfo = func() (sys.Sysinfo, error) { return sys.Sysinfo{MemTotal: 16 << 30}, nil }
	h.Write("cgroup/a/memory.max", "max\n")
	node, _ := lookupFake(t, f, "sys/devices/system/node/node1/meminfo", init)
	for mems, want := range map[string][2]string{
		"1\n": {"8388608", "8388608"}, "0-1\n": {"16777216", "8388608"}, "\n": {"16777216", "8388608"},
	} {
		h.Write("cgroup/a/cpuset.mems.effective", mems)
		for i, text := range []string{readFake(t, f, idMeminfo, init), readFake(t, f, node, init)} {
			total, _, _ := strings.Cut(text, " kB")
			if !strings.HasSuffix(total, " "+want[i]) {
				t.Errorf("cpuset.mems %q: %q, want %s", mems, total, want[i])
			}
		}
	}
}

// TestVmstatNeverDecreases removes a disk that the container has used.
func TestVmstatNeverDecreases(t *testing.T) {
	f, h, init := newFake(t)
	read := func(want string) {
		t.Helper()
		if got := readFake(t, f, idVmstat, init); !strings.Contains(got, want) {
			t.Errorf("want %q in %q", want, got)
		}
	}
	read("\npgpgin 1\npgpgout 2\n")
	h.Write("cgroup/a/io.stat", "")
	read("\npgpgin 1\npgpgout 2\n")
	h.Write("cgroup/a/io.stat", "8:0 rbytes=10240 wbytes=20480 rios=1 wios=2 dbytes=0 dios=0\n")
	read("\npgpgin 10\npgpgout 20\n")
}

// TestContainersDir looks at a container as the host's root.
func TestContainersDir(t *testing.T) {
	f, h, init := newFake(t)
	self := os.Getpid()
	dir := probe.ContainersDir + "/" + strconv.Itoa(init)
	for path, tid := range map[string]int{
		probe.ContainersDir: init, dir + "/status": self, dir + "/pressure": self,
		probe.ContainersDir + "/1": self, fmt.Sprint(probe.ContainersDir, "/", self): self,
	} {
		if _, status := lookupFake(t, f, path, tid); status != fuse.ENOENT {
			t.Errorf("thread %d finds %s: %v", tid, path, status)
		}
	}
	readFake(t, f, idUptime, init)
	if got := listFake(t, f, idContainers, self); !slices.Equal(got, []string{strconv.Itoa(init)}) {
		t.Errorf("containers %q", got)
	}
	id, status := lookupFake(t, f, dir, self)
	if got := listFake(t, f, id, self); !status.Ok() || !slices.Contains(got, "meminfo") {
		t.Errorf("%v: files %q", status, got)
	}
	if got := listFake(t, f, idRoot, self); !slices.Contains(got, mounts.PrivateDir) {
		t.Errorf("the host's root lists %q", got)
	}
	if got := listFake(t, f, idRoot, init); slices.Contains(got, probe.ContainersDir) {
		t.Errorf("a container lists %q", got)
	}
	meminfo, _ := lookupFake(t, f, dir+"/meminfo", self)
	if got := readFake(t, f, meminfo, self); !strings.HasPrefix(got, "MemTotal:        1048576 kB\n") {
		t.Errorf("meminfo of the container: %q", got)
	}
	size := func(tid int) (uint64, fuse.Status) {
		var out fuse.AttrOut
		in := fuse.GetAttrIn{InHeader: fuse.InHeader{NodeId: meminfo, Caller: fuse.Caller{Pid: uint32(tid)}}}
		status := newMeta(f).GetAttr(nil, &in, &out)
		return out.Size, status
	}
	want := uint64(len(readFake(t, f, meminfo, self)))
	if got, status := size(self); !status.Ok() || got != want {
		t.Errorf("%v: size %d, want %d", status, got, want)
	}
	if _, status := size(init); status != fuse.ENOENT {
		t.Errorf("a container gets attributes: %v", status)
	}
	r := fusedev.Request{Node: meminfo, TID: uint32(init)}
	if _, errno := f.Read(&r, 0, 0, 10, nil); errno != syscall.ENOENT {
		t.Errorf("a container reads an open file of another: %v", errno)
	}
	h.End(init)
	if _, status := size(self); status != fuse.ENOENT {
		t.Errorf("attributes of an ended container: %v", status)
	}
}

// TestStatusInPod reads the status in the cgroup of a container: in the host's namespaces, as an
// agent in a pod does, and in its own mount namespace.
func TestStatusInPod(t *testing.T) {
	f, h, init := newFake(t)
	cgroup := "/kubepods/" + strings.Repeat("a", 64)
	h.Write("cgroup"+cgroup+"/memory.max", "max\n")
	agent := h.Start(fakehost.Process{Cgroup: cgroup})
	if got, want := readFake(t, f, idStatus, agent), fmt.Sprintf(`"worker":%d,`, os.Getpid()); !strings.Contains(got, want) {
		t.Errorf("the agent reads %q, want %s", got, want)
	}
	pod := h.Start(fakehost.Process{MountNS: "pod", Cgroup: cgroup})
	for _, tid := range []int{pod, init} {
		if got := readFake(t, f, idStatus, tid); got != "" {
			t.Errorf("a container reads %q", got)
		}
	}
}

// TestPrivateTree looks up files in a private tree: the entries must not be cached, and only the
// host's root gets them.
func TestPrivateTree(t *testing.T) {
	f, _, init := newFake(t)
	id, status := lookupFake(t, f, mounts.PrivateDir+"/2a/proc/meminfo", os.Getpid())
	if tree, base := splitNode(id); !status.Ok() || tree != privateBit|0x2a || base != idMeminfo {
		t.Errorf("%#x in tree %#x, %v", base, tree, status)
	}
	for path, want := range map[string]fuse.Status{
		mounts.PrivateDir + "/2a": fuse.Status(syscall.ENOMEM), mounts.PrivateDir + "/02a": fuse.ENOENT,
	} {
		if _, status := lookupFake(t, f, path, init); status != want {
			t.Errorf("%s in a container: %v, want %v", path, status, want)
		}
	}
	open := func(id uint64, tid int) fuse.Status {
		caller := fuse.Caller{Pid: uint32(tid)}
		return newMeta(f).OpenDir(nil, &fuse.OpenIn{InHeader: fuse.InHeader{NodeId: id, Caller: caller}}, nil)
	}
	for _, tt := range []struct {
		id   uint64
		tid  int
		want fuse.Status
	}{
		{idPrivate, os.Getpid(), fuse.OK}, {idPrivate, init, fuse.EACCES}, {idProc, init, fuse.OK},
		{idContainers, os.Getpid(), fuse.OK}, {idContainers, init, fuse.ENOENT},
	} {
		if got := open(tt.id, tt.tid); got != tt.want {
			t.Errorf("thread %d opens directory %#x: %v, want %v", tt.tid, tt.id, got, tt.want)
		}
	}
}

// TestReadDir lists a directory in pieces.
func TestReadDir(t *testing.T) {
	f, _, init := newFake(t)
	want := append([]string{".", ".."}, listFake(t, f, idProc, init)...)
	var got []string
	for offset := uint64(0); ; {
		buf := make([]byte, 80) // for one or two entries
		in := fuse.ReadIn{InHeader: fuse.InHeader{NodeId: idProc}, Offset: offset}
		status := newMeta(f).ReadDir(nil, &in, fuse.NewDirEntryList(buf, offset))
		length := binary.NativeEndian.Uint32(buf[16:]) // struct fuse_dirent
		if !status.Ok() || length == 0 {
			break
		}
		got = append(got, string(buf[24:24+length]))
		offset = binary.NativeEndian.Uint64(buf[8:])
	}
	if slices.Sort(got); !slices.Equal(got, want) {
		t.Errorf("listed %q, want %q", got, want)
	}
	in := fuse.ReadIn{InHeader: fuse.InHeader{NodeId: idContainers}}
	status := newMeta(f).ReadDir(nil, &in, fuse.NewDirEntryList(make([]byte, 80), 0))
	if status != fuse.ENOENT {
		t.Errorf("a thread outside of the pid namespace lists containers: %v", status)
	}
}

// TestContainerTriggers sets a pressure trigger in a container, and restores it in the next worker.
func TestContainerTriggers(t *testing.T) {
	f, h, init := newFake(t)
	// A pipe accepts writes and polls, as a pressure file does.
	fifo := filepath.Join(h.Dir, "cgroup/a/memory.pressure")
	if err := os.Remove(fifo); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	r := fusedev.Request{Node: idPressureMemory, TID: uint32(init), UID: 1000}
	number, errno := f.Open(&r, syscall.O_RDWR)
	if errno != 0 {
		t.Fatal(errno)
	}
	poll := func(f *FS, want uint32) {
		t.Helper()
		if got, errno := f.Poll(&r, number, 7, true); errno != 0 || got != want {
			t.Errorf("poll: %#x, %v, want %#x", got, errno, want)
		}
	}
	const none = sys.EventReadable | sys.EventErr | sys.EventPri
	poll(f, none)
	const text = "some 100000 2000000"
	for _, tt := range []struct {
		node   uint64
		number uint64
		text   string
		want   syscall.Errno
	}{
		{idMeminfo, number, text, syscall.EBADF},
		{idPressureMemory, 0, text, syscall.ENOSPC},
		{idPressureMemory, number, "some 100000 1000000", syscall.EINVAL},
		{idPressureMemory, number, "some 1", syscall.EINVAL},
		{idPressureMemory, number, text, 0},
		{idPressureMemory, number, text, syscall.EBUSY},
	} {
		in := fuse.WriteIn{InHeader: fuse.InHeader{NodeId: tt.node, Caller: fuse.Caller{Pid: r.TID}}, Fh: tt.number}
		in.Uid = 1000
		if _, status := newMeta(f).Write(nil, &in, []byte(tt.text)); status != fuse.Status(tt.want) {
			t.Errorf("write %q to node %d: %v, want %v", tt.text, tt.node, status, tt.want)
		}
	}
	poll(f, sys.EventReadable)
	var tr *trigger
	for _, tr = range f.triggers.byToken {
	}
	notified := make(chan uint64, 1)
	f.triggers.notify = func(handle uint64) error {
		notified <- handle
		return nil
	}
	f.triggers.fire(sys.Event{Token: tr.token, Events: sys.EventPri})
	if got := <-notified; got != 7 {
		t.Errorf("poller %d is notified, want 7", got)
	}
	poll(f, sys.EventReadable|sys.EventPri)
	poll(f, sys.EventReadable)

	next, err := New(f.opts)
	if err != nil {
		t.Fatal(err)
	}
	next.kept, next.triggers.notify = f.kept, f.triggers.notify
	next.files.Restore(&next.kept.Reads)
	next.restoreTriggers()
	<-notified
	poll(next, sys.EventReadable)
	if err := next.writeTrigger(&r, number, []byte(text)); err != nil {
		t.Errorf("the same trigger again: %v", err)
	}
	if err := next.writeTrigger(&r, number, []byte(text)); err != syscall.EBUSY {
		t.Errorf("and again: %v", err)
	}
	for _, tr = range next.triggers.byToken {
		next.triggers.fire(sys.Event{Token: tr.token, Events: sys.EventErr})
	}
	poll(next, none)
	next.Release(&r, number)
	if got := next.triggers.quota.Used(); got != 0 || len(next.kept.Triggers.All()) != 0 {
		t.Errorf("%d triggers are left", got)
	}
}

// TestLoad samples the load of a container.
func TestLoad(t *testing.T) {
	f, _, init := newFake(t)
	readFake(t, f, idLoadavg, init)
	for _, c := range f.finder.All() {
		r := &reader{fs: f, c: c}
		if err := r.sampleLoad(sampleTime); err != nil {
			t.Error(err)
		}
		c.Release()
	}
	if got := readFake(t, f, idLoadavg, init); strings.HasPrefix(got, "0.00 ") {
		t.Errorf("loadavg %q after a sample with a running task", got)
	}
}

// TestCountInTime counts the tasks of a container whose last thread runs, as a reader does, and
// whose others sleep: it says that one runs, also if the time ends after that one.
func TestCountInTime(t *testing.T) {
	f, h, init := newFake(t)
	readFake(t, f, idLoadavg, init)
	threads := ""
	for i := range 12 {
		p := fakehost.Process{PIDNS: "a", MountNS: "a", NSPids: fmt.Sprint(i + 2), Cgroup: "/a", State: "S"}
		if i == 11 {
			p.State = "R"
		}
		threads += fmt.Sprintln(h.Start(p))
	}
	h.Write("cgroup/a/cgroup.threads", threads)
	h.Write("cgroup/a/pids.current", "12\n")
	for _, c := range f.finder.All() {
		defer c.Release()
		for _, limit := range []time.Duration{0, time.Minute} {
			r := &reader{fs: f, c: c}
			got, err := r.countTasks(limit)
			if err != nil || got.Running != 1 || got.Total != 12 {
				t.Errorf("within %v: %+v, %v", limit, got, err)
			}
		}
	}
}

// TestUnreadableStats reads files of a container whose stats cannot be parsed: it gets the host's.
func TestUnreadableStats(t *testing.T) {
	f, h, init := newFake(t)
	for _, tt := range []struct {
		id         uint64
		stat, file string
		counted    meter.File
	}{
		{idMeminfo, "memory.max", "proc/meminfo", meter.Meminfo},
		{idCpuinfo, "cpuset.cpus.effective", "proc/cpuinfo", meter.Cpuinfo},
	} {
		readFake(t, f, tt.id, init)
		h.Write("cgroup/a/"+tt.stat, "rubbish\n")
		if got := readFake(t, f, tt.id, init); got != hostFiles[tt.file] {
			t.Errorf("%s is %q, want the host's", tt.file, got)
		}
		counts, err := f.meter.Counts()
		if err != nil || counts.Files[tt.counted].Fallbacks != 1 || counts.Errors[meter.Stats] == 0 {
			t.Errorf("%s: %+v, %v", tt.file, counts.Files[tt.counted], err)
		}
	}
}
