package view_test

import (
	"bytes"
	"math/rand"
	"strings"
	"testing"
	"testing/quick"
	"time"

	"palisade/internal/linux/cgroup"
	"palisade/internal/linux/cpulist"
	"palisade/internal/linux/procfs"
	"palisade/internal/lxcfs/account"
	"palisade/internal/lxcfs/view"
)

// random is the configuration of the tests with random values.
var random = &quick.Config{MaxCount: 2000, Rand: rand.New(rand.NewSource(1))}

// TestRandomMemory checks that the files can be parsed and are consistent for any values.
func TestRandomMemory(t *testing.T) {
	h := loadHost(t, "5.10-x86_64")
	check := func(m cgroup.Memory, hostSwap uint64, swap bool, small uint8) bool {
		h.total.SwapTotal = hostSwap
		m.Usage >>= small % 64
		m.Limit >>= small % 60
		o := view.MemOptions{Swap: swap, Zswap: true}
		v, err := procfs.ParseMeminfo(view.Meminfo(nil, h.meminfo, h.total, &m, o))
		if err != nil || len(v.Lines) != len(h.meminfo.Lines) {
			t.Errorf("malformed meminfo: %v", err)
			return false
		}
		lines := strings.Split(string(view.Swaps(nil, h.swaps, h.total, &m, o)), "\n")
		if v.Values[procfs.MemSwapTotal] > 0 && len(strings.Fields(lines[1])) != 5 {
			t.Errorf("bad line of swaps %q", lines[1])
		}
		for _, pair := range [][2]procfs.MemField{
			{procfs.MemFree, procfs.MemTotal},
			{procfs.MemAvailable, procfs.MemTotal},
			{procfs.MemFree, procfs.MemAvailable},
			{procfs.MemSwapFree, procfs.MemSwapTotal},
			{procfs.MemHugePagesFree, procfs.MemHugePagesTotal},
		} {
			if low, high := v.Values[pair[0]], v.Values[pair[1]]; low > high {
				t.Errorf("field %d is %d, above field %d, %d: %+v", pair[0], low, pair[1], high, m)
				return false
			}
		}
		return v.Values[procfs.MemTotal] <= h.meminfo.Values[procfs.MemTotal]
	}
	if err := quick.Check(check, random); err != nil {
		t.Error(err)
	}
}

func TestRandomStat(t *testing.T) {
	h := loadHost(t, "6.18-x86_64")
	check := func(times []account.CPUTime, tasks view.Tasks) bool {
		s, err := procfs.ParseStat(view.Stat(nil, h.stat, times, len(times), tasks, 0))
		return err == nil && s.Columns == h.stat.Columns && len(s.Lines) == len(h.stat.Lines)
	}
	if err := quick.Check(check, random); err != nil {
		t.Error(err)
	}
}

func TestRandomDisks(t *testing.T) {
	h := loadHost(t, "4.19-x86_64")
	disks, _ := wholeDisks(h)
	check := func(io []cgroup.DeviceIO, known uint8) bool {
		for i := range io {
			io[i].Major, io[i].Minor = 8, uint32(known%2)*16
		}
		d, err := procfs.ParseDiskstats(view.Diskstats(nil, h.diskstats, disks, io))
		if err != nil || len(d.Devices) != len(disks) {
			return false
		}
		return d.Devices[0].Columns == 15 && d.Devices[1].Columns == 15
	}
	if err := quick.Check(check, random); err != nil {
		t.Error(err)
	}
}

func TestRandomTimes(t *testing.T) {
	check := func(age time.Duration, idle uint64, l view.Load) bool {
		uptime := strings.Fields(string(view.Uptime(nil, age, idle)))
		load := strings.Fields(string(view.Loadavg(nil, l)))
		hasSign := strings.Contains(strings.Join(append(uptime, load...), ""), "-")
		return len(uptime) == 2 && len(load) == 5 && !hasSign
	}
	if err := quick.Check(check, random); err != nil {
		t.Error(err)
	}
}

func TestRandomCPUs(t *testing.T) {
	h := loadHost(t, "5.10-x86_64")
	check := func(online, set []int16, quota cgroup.Quota) bool {
		var on, in cpulist.Set
		for _, cpu := range online {
			on.Add(int(cpu))
		}
		for _, cpu := range set {
			in.Add(int(cpu))
		}
		var c view.CPUs
		c.Set(&on, &in, quota)
		n, sections := c.Len(), bytes.Count(view.Cpuinfo(nil, h.cpuinfo, &c), []byte("processor\t: "))
		return n >= 1 && n <= max(on.Len(), 1) && sections >= 1 && sections <= n
	}
	if err := quick.Check(check, random); err != nil {
		t.Error(err)
	}
}

// FuzzHostFiles formats files with any host file that can be parsed as the template.
func FuzzHostFiles(f *testing.F) {
	for _, host := range hosts {
		for _, name := range []string{"meminfo", "cpuinfo", "stat", "swaps", "diskstats", "partitions"} {
			f.Add(hostFile(f, host, "proc/"+name))
		}
	}
	m := cgroup.Memory{
		Limit: gib, Usage: mib, Stat: v2Stat,
		Huge: []cgroup.HugePages{{PageSize: 2 * mib, Limit: gib}},
	}
	online := cpulist.Of(0, 1, 5)
	var c view.CPUs
	c.Set(&online, &online, cgroup.Quota{})
	f.Fuzz(func(t *testing.T, text []byte) {
		if host, err := procfs.ParseMeminfo(text); err == nil {
			text := view.Meminfo(nil, host, largeHost, &m, view.MemOptions{})
			got, err := procfs.ParseMeminfo(text)
			if err != nil || got.Values[procfs.MemTotal] != gib/kib {
				t.Errorf("meminfo: got %v, %v", got, err)
			}
		}
		host, err := procfs.ParseCpuinfo(text)
		if err == nil && len(view.Cpuinfo(nil, host, &c)) == 0 {
			t.Error("empty cpuinfo")
		}
		if host, err := procfs.ParseStat(text); err == nil {
			view.Stat(nil, host, cpuTimes(2), 2, view.Tasks{}, -time.Hour)
		}
		if host, err := procfs.ParseSwaps(text); err == nil {
			view.Swaps(nil, host, largeHost, &m, view.MemOptions{Swap: true})
		}
		if host, err := procfs.ParseDiskstats(text); err == nil {
			view.Diskstats(nil, host, []view.Disk{{Name: "sda"}}, nil)
		}
		if host, err := procfs.ParsePartitions(text); err == nil {
			view.Partitions(nil, host, []view.Disk{{Name: "sda"}})
		}
	})
}
