package lxcfs

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"palisade/internal/linux/procfs"
	"palisade/internal/lxcfs/fakehost"
	"palisade/internal/lxcfs/fusedev"
)

// BenchmarkHostCPUs reads files of a container with two CPUs, on hosts with more and more CPUs.
// With "v1", the kernel counts the container's CPU time for each CPU of the host; with "all" the
// container sees all of them. With "fresh", the host's files are read again for each read, which
// lxcfs does ten times a second at most.
func BenchmarkHostCPUs(b *testing.B) {
	all := func(h *fakehost.Host, _, n int) { h.Write("cgroup/a/cpuset.cpus.effective", cpuRange(n)) }
	v2 := func(h *fakehost.Host, _, _ int) {}
	for _, bench := range []struct {
		name   string
		id     uint64
		layout func(h *fakehost.Host, init, cpus int)
		fresh  bool
	}{
		{"stat", idStat, v2, false}, {"stat, v1", idStat, cgroupV1, false},
		{"stat, all", idStat, all, false}, {"stat, fresh", idStat, v2, true},
		{"cpuinfo", idCpuinfo, v2, false}, {"cpuinfo, all", idCpuinfo, all, false},
		{"cpuinfo, fresh", idCpuinfo, v2, true}, {"uptime", idUptime, v2, false},
	} {
		for _, n := range []int{2, 8, 32, 128, 512} {
			b.Run(fmt.Sprintf("%s=%d", bench.name, n), func(b *testing.B) {
				h, init := newFakeHost(b)
				h.Write("proc/cpuinfo", repeat(n, cpuSection))
				h.Write("proc/stat", "cpu  1 0 1 1 0 0 0 0 0 0\n"+
					repeat(n, "cpu%d 1234567 890 123456 123456789 1234 0 123 0 0 0\n")+
					"intr 1\nctxt 2\nbtime 1700000000\nprocesses 9999\nprocs_running 7\nprocs_blocked 8\n")
				for _, file := range []string{"online", "present", "possible"} {
					h.Write("sys/devices/system/cpu/"+file, cpuRange(n))
				}
				h.Write("cgroup/a/cpuset.cpus.effective", cpuRange(2))
				bench.layout(h, init, n)
				benchmarkRead(b, newFakeFS(b, h), bench.id, init, bench.fresh)
			})
		}
	}
}

// BenchmarkHostDisks reads files of a container that sees no disk, on hosts with more and more
// disks of two partitions each.
func BenchmarkHostDisks(b *testing.B) {
	for _, bench := range []struct {
		name  string
		id    uint64
		fresh bool
	}{
		{"diskstats", idDiskstats, false}, {"diskstats, fresh", idDiskstats, true},
		{"partitions", idPartitions, false}, {"partitions, fresh", idPartitions, true},
	} {
		for _, n := range []int{2, 10, 50, 200} {
			b.Run(fmt.Sprintf("%s=%d", bench.name, n), func(b *testing.B) {
				f, h, init := newFake(b)
				const io = " 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17\n"
				h.Write("proc/diskstats", repeat(n, " 254 %[1]d vd%[1]d"+io+
					" 259 %[1]d0 vd%[1]dp1"+io+" 259 %[1]d1 vd%[1]dp2"+io))
				h.Write("proc/partitions", "major minor  #blocks  name\n\n"+repeat(n,
					" 254 %[1]d 1000 vd%[1]d\n 259 %[1]d0 500 vd%[1]dp1\n 259 %[1]d1 500 vd%[1]dp2\n"))
				for i := range n {
					h.Write(fmt.Sprintf("sys/block/vd%d/size", i), "2000\n")
					h.Write(fmt.Sprintf("sys/dev/block/254:%d/dev", i), fmt.Sprintf("254:%d\n", i))
				}
				benchmarkRead(b, f, bench.id, init, bench.fresh)
			})
		}
	}
}

func benchmarkRead(b *testing.B, f *FS, id uint64, init int, fresh bool) {
	if readFake(b, f, id, init) == readFake(b, f, id, os.Getpid()) {
		b.Fatal("the container gets the host's file")
	}
	r := fusedev.Request{Node: id, TID: uint32(init)}
	buf := make([]byte, 0, 1<<20)
	b.ReportAllocs()
	for b.Loop() {
		if fresh {
			host, err := procfs.New(f.opts.ProcRoot, f.opts.SysRoot)
			if err != nil {
				b.Fatal(err)
			}
			f.host.Close()
			f.host = host
		}
		number, _ := f.Open(&r, 0)
		f.Read(&r, number, 0, 128<<10, buf)
		f.Release(&r, number)
	}
}

// repeat formats the numbers below n.
func repeat(n int, format string) string {
	var s strings.Builder
	for i := range n {
		fmt.Fprintf(&s, format, i)
	}
	return s.String()
}

func cpuRange(n int) string { return fmt.Sprintf("0-%d\n", n-1) }

// cgroupV1 moves the container and the daemon to v1.
func cgroupV1(h *fakehost.Host, init, cpus int) {
	h.Write("cgroup/a/cpuacct.usage_all",
		"cpu user system\n"+repeat(cpus, "%d 123456789012 123456789012\n"))
	h.Write("cgroup/a/cpuacct.usage_percpu", repeat(cpus, "123456789012 ")+"\n")
	h.Write("cgroup/a/cpuacct.usage", "123456789012\n")
	h.Write("cgroup/a/cpuset.effective_cpus", cpuRange(2))
	h.Write("cgroup/a/cpu.cfs_quota_us", "-1\n")
	h.Write("cgroup/a/cpu.cfs_period_us", "100000\n")
	h.Write("cgroup/a/tasks", fmt.Sprintln(init))
	const controllers = "cpuset,cpu,cpuacct,pids"
	self := fmt.Sprintf("proc/%d/", os.Getpid())
	h.Write(fmt.Sprintf("proc/%d/cgroup", init), "2:"+controllers+":/a\n")
	h.Write(self+"cgroup", "2:"+controllers+":/\n")
	h.Write(self+"mountinfo",
		fmt.Sprintf("30 1 0:26 / %s/cgroup rw - cgroup cgroup rw,%s\n", h.Dir, controllers))
}

// cpuSection is the section of a CPU in /proc/cpuinfo, of about a kilobyte.
const cpuSection = "processor\t: %[1]d\nvendor_id\t: GenuineIntel\ncpu family\t: 6\n" +
	"model\t\t: 106\nmodel name\t: Intel(R) Xeon(R) Platinum 8370C CPU @ 2.80GHz\n" +
	"stepping\t: 6\nmicrocode\t: 0xffffffff\ncpu MHz\t\t: 2793.436\ncache size\t: 49152 KB\n" +
	"physical id\t: 0\nsiblings\t: 64\ncore id\t\t: %[1]d\ncpu cores\t: 64\n" +
	"apicid\t\t: %[1]d\ninitial apicid\t: %[1]d\nfpu\t\t: yes\nfpu_exception\t: yes\n" +
	"cpuid level\t: 27\nwp\t\t: yes\nflags\t\t: fpu vme de pse tsc msr pae mce cx8 apic sep " +
	"mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 ss ht syscall nx pdpe1gb rdtscp lm " +
	"constant_tsc rep_good nopl xtopology cpuid tsc_known_freq pni pclmulqdq ssse3 fma cx16 pcid " +
	"sse4_1 sse4_2 x2apic movbe popcnt aes xsave avx f16c rdrand hypervisor lahf_lm abm " +
	"3dnowprefetch fsgsbase tsc_adjust bmi1 hle avx2 smep bmi2 erms invpcid rtm avx512f avx512dq " +
	"rdseed adx smap clflushopt avx512cd avx512bw avx512vl xsaveopt xsavec\n" +
	"bugs\t\t: spectre_v1 spectre_v2 swapgs taa mmio_stale_data\nbogomips\t: 5586.87\n" +
	"clflush size\t: 64\ncache_alignment\t: 64\n" +
	"address sizes\t: 46 bits physical, 48 bits virtual\npower management:\n\n"
