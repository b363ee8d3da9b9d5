package view_test

import (
	"bytes"
	"math/rand"
	"strings"
	"testing"
	"testing/quick"
	"time"

	"palisade/internal/account"
	"palisade/internal/cgroup"
	"palisade/internal/cpulist"
	"palisade/internal/procfs"
	"palisade/internal/view"
)

// absurd is the configuration of the tests with random figures: half of them are at the ends of the range.
var absurd = &quick.Config{MaxCount: 2000, Rand: rand.New(rand.NewSource(1))}

// TestAbsurdMemory: whatever the figures, the text can be read again and does not contradict itself.
func TestAbsurdMemory(t *testing.T) {
	h := loadHost(t, "5.10-x86_64")
	check := func(m cgroup.Memory, hostSwap uint64, swap bool, small uint8) bool {
		h.total.SwapTotal = hostSwap
		m.Usage >>= small % 64
		m.Limit >>= small % 60
		o := view.MemOptions{Swap: swap, Zswap: true}
		v, err := procfs.ParseMeminfo(view.Meminfo(nil, h.meminfo, h.total, &m, o))
		if err != nil || len(v.Lines) != len(h.meminfo.Lines) {
			t.Errorf("cannot read meminfo again: %v", err)
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
				t.Errorf("field %d is %d, more than field %d, %d, with %+v", pair[0], low, pair[1], high, m)
				return false
			}
		}
		return v.Values[procfs.MemTotal] <= h.meminfo.Values[procfs.MemTotal]
	}
	if err := quick.Check(check, absurd); err != nil {
		t.Error(err)
	}
}

func TestAbsurdStat(t *testing.T) {
	h := loadHost(t, "6.18-x86_64")
	check := func(times []account.CPUTime, tasks view.Tasks) bool {
		s, err := procfs.ParseStat(view.Stat(nil, h.stat, times, len(times), tasks))
		return err == nil && s.Columns == h.stat.Columns && len(s.Lines) == len(h.stat.Lines)
	}
	if err := quick.Check(check, absurd); err != nil {
		t.Error(err)
	}
}

func TestAbsurdDisks(t *testing.T) {
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
	if err := quick.Check(check, absurd); err != nil {
		t.Error(err)
	}
}

func TestAbsurdTimes(t *testing.T) {
	check := func(age time.Duration, idle uint64, l view.Load) bool {
		uptime := strings.Fields(string(view.Uptime(nil, age, idle)))
		load := strings.Fields(string(view.Loadavg(nil, l)))
		return len(uptime) == 2 && len(load) == 5 && !strings.Contains(strings.Join(append(uptime, load...), ""), "-")
	}
	if err := quick.Check(check, absurd); err != nil {
		t.Error(err)
	}
}

func TestAbsurdCPUs(t *testing.T) {
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
		blocks := bytes.Count(view.Cpuinfo(nil, h.cpuinfo, &c), []byte("processor\t: "))
		return c.Len() >= 1 && c.Len() <= max(on.Len(), 1) && blocks >= 1 && blocks <= c.Len()
	}
	if err := quick.Check(check, absurd); err != nil {
		t.Error(err)
	}
}

// FuzzHostTexts renders into the skeletons of any text that the parsers take.
func FuzzHostTexts(f *testing.F) {
	for _, host := range hosts {
		for _, name := range []string{"meminfo", "cpuinfo", "stat", "swaps", "diskstats", "partitions"} {
			f.Add(hostFile(f, host, "proc/"+name))
		}
	}
	m := cgroup.Memory{Limit: gib, Usage: mib, Stat: v2Stat, Huge: []cgroup.HugePages{{PageSize: 2 * mib, Limit: gib}}}
	online := cpulist.Of(0, 1, 5)
	var c view.CPUs
	c.Set(&online, &online, cgroup.Quota{})
	f.Fuzz(func(t *testing.T, text []byte) {
		if host, err := procfs.ParseMeminfo(text); err == nil {
			again, err := procfs.ParseMeminfo(view.Meminfo(nil, host, loadedTotal, &m, view.MemOptions{}))
			if err != nil || again.Values[procfs.MemTotal] != gib/kib {
				t.Errorf("meminfo: got %v, %v", again, err)
			}
		}
		if host, err := procfs.ParseCpuinfo(text); err == nil && len(view.Cpuinfo(nil, host, &c)) == 0 {
			t.Error("cpuinfo is empty")
		}
		if host, err := procfs.ParseStat(text); err == nil {
			view.Stat(nil, host, cpuTimes(2), 2, view.Tasks{})
		}
		if host, err := procfs.ParseSwaps(text); err == nil {
			view.Swaps(nil, host, loadedTotal, &m, view.MemOptions{Swap: true})
		}
		if host, err := procfs.ParseDiskstats(text); err == nil {
			view.Diskstats(nil, host, []view.Disk{{Name: "sda"}}, nil)
		}
		if host, err := procfs.ParsePartitions(text); err == nil {
			view.Partitions(nil, host, []view.Disk{{Name: "sda"}})
		}
	})
}
