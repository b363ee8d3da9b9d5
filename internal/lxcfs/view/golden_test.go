package view_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"palisade/internal/cli/golden"
	"palisade/internal/linux/cgroup"
	"palisade/internal/linux/cpulist"
	"palisade/internal/linux/procfs"
	"palisade/internal/linux/sys"
	"palisade/internal/lxcfs/account"
	"palisade/internal/lxcfs/view"
)

const (
	kib = 1 << 10
	mib = 1 << 20
	gib = 1 << 30
)

// hosts are the directories of procfs' testdata with all files, cpuinfoHosts those with cpuinfo
// only.
var (
	hosts = []string{
		"4.19-x86_64", "5.10-x86_64", "6.1-x86_64", "6.6-x86_64", "6.18-x86_64",
		"4.19-arm64", "5.10-arm64", "6.1-arm64", "6.6-arm64", "6.18-arm64",
	}
	cpuinfoHosts = []string{"s390x", "arm", "ppc64le", "riscv64", "loongarch64"}
)

// hostFiles holds the parsed files of a host.
type hostFiles struct {
	meminfo    *procfs.Meminfo
	cpuinfo    *procfs.Cpuinfo
	stat       *procfs.Stat
	swaps      *procfs.Swaps
	diskstats  *procfs.Disks
	partitions *procfs.Disks
	online     cpulist.Set
	present    cpulist.Set
	total      sys.Sysinfo
}

func hostFile(tb testing.TB, host, name string) []byte {
	tb.Helper()
	text, err := os.ReadFile(filepath.Join("../../linux/procfs/testdata", host, name))
	if err != nil {
		tb.Fatal(err)
	}
	return text
}

func parsed[T any](tb testing.TB, host, name string, parse func([]byte) (*T, error)) *T {
	tb.Helper()
	v, err := parse(hostFile(tb, host, name))
	if err != nil {
		tb.Fatalf("parse %s of %s: %v", name, host, err)
	}
	return v
}

func loadHost(tb testing.TB, host string) *hostFiles {
	tb.Helper()
	h := &hostFiles{
		meminfo:    parsed(tb, host, "proc/meminfo", procfs.ParseMeminfo),
		cpuinfo:    parsed(tb, host, "proc/cpuinfo", procfs.ParseCpuinfo),
		stat:       parsed(tb, host, "proc/stat", procfs.ParseStat),
		swaps:      parsed(tb, host, "proc/swaps", procfs.ParseSwaps),
		diskstats:  parsed(tb, host, "proc/diskstats", procfs.ParseDiskstats),
		partitions: parsed(tb, host, "proc/partitions", procfs.ParsePartitions),
		online:     cpus(tb, string(hostFile(tb, host, "sys/devices/system/cpu/online"))),
		present:    cpus(tb, string(hostFile(tb, host, "sys/devices/system/cpu/present"))),
	}
	h.total = sys.Sysinfo{
		MemTotal:  h.meminfo.Values[procfs.MemTotal] * kib,
		SwapTotal: h.meminfo.Values[procfs.MemSwapTotal] * kib,
		SwapFree:  h.meminfo.Values[procfs.MemSwapFree] * kib,
	}
	return h
}

func cpus(tb testing.TB, list string) cpulist.Set {
	tb.Helper()
	var s cpulist.Set
	if err := s.Parse([]byte(list)); err != nil {
		tb.Fatal(err)
	}
	return s
}

// containerState holds the values of a container.
type containerState struct {
	name   string
	memory cgroup.Memory
	noSwap bool
	cpuset string
	quota  cgroup.Quota
}

// v2Stat and v1Stat are values of memory.stat. v1 does not account kernel memory.
var (
	v2Stat = cgroup.MemoryStat{
		Anon: 61 * mib, File: 48 * mib, Shmem: 3 * mib, FileMapped: 11 * mib, FileDirty: 132 * kib,
		FileWriteback: 16 * kib, ActiveAnon: 2 * mib, InactiveAnon: 62 * mib, ActiveFile: 12 * mib,
		InactiveFile: 33 * mib, Unevictable: 64 * kib, SwapCached: 20 * kib, Slab: 5*mib + 700,
		SlabReclaimable: 3 * mib, SlabUnreclaimable: 2*mib + 700, KernelStack: 320 * kib,
		PageTables: 840 * kib, SecPageTables: 4 * kib, Percpu: 70 * kib, AnonTHP: 4 * mib,
		FileTHP: 2 * mib, ShmemTHP: 2 * mib, Zswap: 100 * kib, Zswapped: 400 * kib,
	}
	v1Stat = cgroup.MemoryStat{
		Anon: 61 * mib, File: 48 * mib, Shmem: 3 * mib, FileMapped: 11 * mib, FileDirty: 132 * kib,
		FileWriteback: 16 * kib, ActiveAnon: 2 * mib, InactiveAnon: 62 * mib, ActiveFile: 12 * mib,
		InactiveFile: 33 * mib, Unevictable: 64 * kib, SwapCached: 20 * kib, AnonTHP: 4 * mib,
	}
)

func containers() []containerState {
	swap := cgroup.Swap{Accounted: true, Limit: 512 * mib, Usage: 17*mib + 4095}
	unlimitedSwap := cgroup.Swap{Accounted: true, Limit: cgroup.NoLimit, Usage: 17 * mib}
	huge := []cgroup.HugePages{
		{PageSize: 2 * mib, Limit: 64 * mib, Usage: 10 * mib},
		{PageSize: gib, Limit: 2 * gib, Usage: gib},
	}
	return []containerState{
		{
			name: "v1-unlimited", cpuset: "0,2",
			memory: cgroup.Memory{Limit: cgroup.NoLimit, Usage: 118 * mib, Stat: v1Stat},
		},
		{
			name: "v1-limited", cpuset: "1-3", quota: cgroup.Quota{Usec: 150000, Period: 100000},
			memory: cgroup.Memory{Limit: 256 * mib, Usage: 118*mib + 1, Stat: v1Stat, Swap: swap},
		},
		{
			name: "v2-unlimited", cpuset: "0-8191",
			memory: cgroup.Memory{
				Limit: cgroup.NoLimit, Usage: 118 * mib, Stat: v2Stat, Swap: unlimitedSwap,
			},
		},
		{
			name: "v2-nested", cpuset: "0-2", quota: cgroup.Quota{Usec: 100000, Period: 100000},
			memory: cgroup.Memory{Limit: 500 * mib, Usage: 118 * mib, Stat: v2Stat, Swap: swap},
		},
		{
			name: "v2-swap-off", cpuset: "0-1", noSwap: true,
			memory: cgroup.Memory{Limit: 256 * mib, Usage: 118 * mib, Stat: v2Stat, Swap: swap},
		},
		{
			name: "v2-hugepages", cpuset: "0", quota: cgroup.Quota{Usec: 5000, Period: 100000},
			memory: cgroup.Memory{Limit: 4 * gib, Usage: 118 * mib, Stat: v2Stat, Swap: swap, Huge: huge},
		},
	}
}

// wholeDisks returns the disks of the host, the first of which holds the container's root, and the
// container's I/O on that.
func wholeDisks(h *hostFiles) (disks []view.Disk, io []cgroup.DeviceIO) {
	whole := []string{"sda", "sdb", "vda", "vdb", "nvme0n1", "md127"}
	for _, d := range h.diskstats.Devices {
		if !slices.Contains(whole, d.Name) {
			continue
		}
		name := d.Name
		if len(disks) == 0 {
			name = "sda"
		}
		disks = append(disks, view.Disk{Device: d.Device, Name: name})
		io = append(io, cgroup.DeviceIO{
			Major: d.Major, Minor: d.Minor, Reads: 1200, ReadBytes: 48*mib + 511, Writes: 340,
			WriteBytes: 9 * mib, Discards: 3, DiscardBytes: mib,
		})
	}
	return disks, io[:min(len(io), 1)]
}

func cpuTimes(n int) []account.CPUTime {
	times := make([]account.CPUTime, n)
	for i := range times {
		k := uint64(i + 1)
		times[i].User, times[i].Nice, times[i].System = 12345678901*k, 9999999*k, 3456789012
		times[i].Idle = 98765432109 / k
	}
	return times
}

// render returns all files of a container, each after a line with its name.
func render(tb testing.TB, h *hostFiles, s containerState) []byte {
	tb.Helper()
	var c view.CPUs
	set := cpus(tb, s.cpuset)
	c.Set(&h.online, &set, s.quota)
	o := view.MemOptions{Swap: !s.noSwap, Zswap: true}
	tasks := view.Tasks{Running: 2, Blocked: 1, Total: 17, LastPID: 231}
	load := view.Load{Avg: [3]uint64{view.LoadOne / 2, 3*view.LoadOne - 1, 0}, Tasks: tasks}
	disks, io := wholeDisks(h)
	var dst []byte
	file := func(name string, text []byte) {
		dst = append(append(append(dst, "-- "...), name...), " --\n"...)
		dst = append(dst, text...)
	}
	file("proc/meminfo", view.Meminfo(nil, h.meminfo, h.total, &s.memory, o))
	file("proc/swaps", view.Swaps(nil, h.swaps, h.total, &s.memory, o))
	file("proc/stat", view.Stat(nil, h.stat, cpuTimes(c.Len()), c.Len(), tasks, 0))
	file("proc/uptime", view.Uptime(nil, 3723*time.Second+456789012, 7199*1e9+99e7))
	file("proc/loadavg", view.Loadavg(nil, load))
	file("proc/diskstats", view.Diskstats(nil, h.diskstats, disks, io))
	file("proc/partitions", view.Partitions(nil, h.partitions, disks))
	file("sys/devices/system/cpu/online", view.CPUOnline(nil, &c))
	file("sys/devices/system/cpu/offline", view.CPUOffline(nil, &h.present, &c))
	file("proc/cpuinfo", view.Cpuinfo(nil, h.cpuinfo, &c))
	return dst
}

func TestGolden(t *testing.T) {
	for _, host := range hosts {
		h := loadHost(t, host)
		for _, s := range containers() {
			t.Run(host+"/"+s.name, func(t *testing.T) {
				golden.Check(t, filepath.Join("testdata", host, s.name), string(render(t, h, s)))
			})
		}
	}
}

// TestGoldenCpuinfo has other architectures, whose /proc/cpuinfo has another format.
func TestGoldenCpuinfo(t *testing.T) {
	online, set := cpulist.Of(0, 1, 2, 3), cpulist.Of(1, 3)
	var c view.CPUs
	c.Set(&online, &set, cgroup.Quota{})
	for _, host := range cpuinfoHosts {
		t.Run(host, func(t *testing.T) {
			info := parsed(t, host, "proc/cpuinfo", procfs.ParseCpuinfo)
			got := string(view.Cpuinfo(nil, info, &c))
			golden.Check(t, filepath.Join("testdata", host, "cpuinfo"), got)
		})
	}
}
