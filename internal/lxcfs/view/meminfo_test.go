package view_test

import (
	"math"
	"strconv"
	"strings"
	"testing"

	"palisade/internal/linux/cgroup"
	"palisade/internal/linux/procfs"
	"palisade/internal/linux/sys"
	"palisade/internal/lxcfs/view"
)

const noLimit = cgroup.NoLimit

// meminfo returns the values of meminfo by key.
func meminfo(t *testing.T, h *hostFiles, m *cgroup.Memory, o view.MemOptions) map[string]uint64 {
	t.Helper()
	text := memText(nil, h.meminfo, h.total, m, o)
	values := make(map[string]uint64)
	for line := range strings.Lines(string(text)) {
		key, rest, _ := strings.Cut(line, ":")
		fields := strings.Fields(rest)
		if len(fields) == 0 {
			t.Fatalf("bad line %q", line)
		}
		n, err := strconv.ParseUint(fields[0], 10, 64)
		if err != nil {
			t.Fatalf("bad line %q: %v", line, err)
		}
		values[key] = n
	}
	return values
}

func wantMem(t *testing.T, got, want map[string]uint64) {
	t.Helper()
	for key, n := range want {
		if got[key] != n {
			t.Errorf("%s: got %d, want %d", key, got[key], n)
		}
	}
}

func TestMemoryLimit(t *testing.T) {
	h := loadHost(t, "6.6-x86_64")
	hostKB := h.meminfo.Values[procfs.MemTotal]
	for _, tt := range []struct {
		name         string
		limit, usage uint64
		total, free  uint64
	}{
		{"limit", 256 * mib, 56 * mib, 256 * kib, 200 * kib},
		{"truncated", 256*mib + 1023, 1025, 256 * kib, 256*kib - 1},
		{"no limit", noLimit, 0, hostKB, hostKB},
		{"0 is none", 0, 0, hostKB, hostKB},
		{"v1's no limit", math.MaxInt64 - 4095, 0, hostKB, hostKB},
		{"above the host's memory", 1 << 50, 0, hostKB, hostKB},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := &cgroup.Memory{Limit: tt.limit, Usage: tt.usage}
			got := meminfo(t, h, m, view.MemOptions{})
			wantMem(t, got, map[string]uint64{"MemTotal": tt.total, "MemFree": tt.free})
		})
	}
}

func TestMemorySaturates(t *testing.T) {
	h := loadHost(t, "6.18-x86_64")
	h.total.SwapTotal = 100 * mib
	m := cgroup.Memory{
		Limit: 100 * mib, Usage: 101 * mib, // as after the limit was lowered
		Stat: cgroup.MemoryStat{
			ActiveFile: math.MaxUint64, InactiveFile: 2, Anon: math.MaxUint64, Shmem: 5,
			SlabReclaimable: 7,
		},
		Swap: cgroup.Swap{Accounted: true, Limit: 10 * mib, Usage: 11 * mib},
	}
	got := meminfo(t, h, &m, view.MemOptions{Swap: true})
	wantMem(t, got, map[string]uint64{
		"MemFree": 0, "MemAvailable": 100 * kib, "SwapTotal": 10 * kib, "SwapFree": 0,
		"Active": math.MaxUint64 / 1024, "Committed_AS": math.MaxUint64 / 1024,
	})
}

func TestSwapTotals(t *testing.T) {
	on := view.MemOptions{Swap: true}
	for _, tt := range []struct {
		name        string
		host        uint64
		swap        cgroup.Swap
		o           view.MemOptions
		total, used uint64
	}{
		{"limit", gib, cgroup.Swap{Accounted: true, Limit: mib, Usage: kib}, on, mib, kib},
		{"capped at the host's", mib, cgroup.Swap{Accounted: true, Limit: gib, Usage: kib}, on, mib, kib},
		{"no limit", gib, cgroup.Swap{Accounted: true, Limit: noLimit, Usage: kib}, on, gib, kib},
		{"limit 0 is no swap", gib, cgroup.Swap{Accounted: true}, on, 0, 0},
		{
			"usage above the limit", gib, cgroup.Swap{Accounted: true, Limit: mib, Usage: gib}, on,
			mib, mib,
		},
		{"not accounted", gib, cgroup.Swap{Limit: mib, Usage: kib}, on, 0, 0},
		{"host without swap", 0, cgroup.Swap{Accounted: true, Limit: mib, Usage: kib}, on, 0, 0},
		{
			"option -u", gib, cgroup.Swap{Accounted: true, Limit: mib, Usage: kib},
			view.MemOptions{}, 0, 0,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			host, m := sys.Sysinfo{SwapTotal: tt.host}, &cgroup.Memory{Swap: tt.swap}
			total, used := view.SwapTotals(host, m, tt.o)
			if total != tt.total || used != tt.used {
				t.Errorf("got %d, %d, want %d, %d", total, used, tt.total, tt.used)
			}
		})
	}
}

// TestSwapIsCurrent has a host whose swap differs from that in the snapshot.
func TestSwapIsCurrent(t *testing.T) {
	h := loadHost(t, "6.18-x86_64") // captured without swap
	m := cgroup.Memory{Limit: gib, Swap: cgroup.Swap{Accounted: true, Limit: noLimit}}
	o := view.MemOptions{Swap: true}
	for _, swap := range []uint64{0, 2 * gib, 0} {
		h.total.SwapTotal = swap
		want := map[string]uint64{"SwapTotal": swap / kib, "SwapFree": swap / kib}
		wantMem(t, meminfo(t, h, &m, o), want)
		lines := strings.Count(string(view.Swaps(nil, h.swaps, h.total, &m, o)), "\n")
		if want := map[bool]int{false: 1, true: 2}[swap > 0]; lines != want {
			t.Errorf("swaps with %d bytes: got %d lines, want %d", swap, lines, want)
		}
	}
}

func TestSwaps(t *testing.T) {
	const (
		file   = "none                                    "
		narrow = "Filename\t\t\t\tType\t\tSize\tUsed\tPriority\n"
		wide   = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"
	)
	for _, tt := range []struct {
		name, header string
		limit, usage uint64
		want         string
	}{
		{"narrow", narrow, 512 * mib, mib, file + "virtual\t\t524288\t1024\t0\n"},
		{"wide", wide, 512 * mib, mib, file + "virtual\t\t524288\t\t1024\t\t0\n"},
		{"wide, long numbers", wide, 16 * gib, 10 * gib, file + "virtual\t\t16777216\t10485760\t0\n"},
		{"none", wide, 0, 0, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			host, err := procfs.ParseSwaps([]byte(tt.header + "/dev/sda2 partition 1 2 -2\n"))
			if err != nil {
				t.Fatal(err)
			}
			m := cgroup.Memory{Swap: cgroup.Swap{Accounted: true, Limit: tt.limit, Usage: tt.usage}}
			total := sys.Sysinfo{SwapTotal: 64 * gib}
			got := string(view.Swaps(nil, host, total, &m, view.MemOptions{Swap: true}))
			if want := tt.header + tt.want; got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

func TestHugePages(t *testing.T) {
	// The host has 1024 pages of 2 MiB, 512 of which are free and 128 of these reserved, and 4 GiB
	// in pages of 1 GiB.
	h := loadHost(t, "5.10-x86_64")
	const mb2 = 2 * mib
	for _, tt := range []struct {
		name                    string
		huge                    []cgroup.HugePages
		total, free, rsvd, pool uint64
	}{
		{"no controller", nil, 1024, 512, 128, 1024*2048 + 4*mib},
		{
			"no limit", []cgroup.HugePages{{PageSize: mb2, Limit: noLimit, Usage: mb2}},
			1024, 512, 128, 1024*2048 + 4*mib,
		},
		{
			"limit", []cgroup.HugePages{{PageSize: mb2, Limit: 10 * mb2, Usage: 3 * mb2}},
			10, 7, 0, 10*2048 + 4*mib,
		},
		{"limit 0", []cgroup.HugePages{{PageSize: mb2}}, 0, 0, 0, 4 * mib},
		{
			"limit above the pool", []cgroup.HugePages{{PageSize: mb2, Limit: gib * 16, Usage: mb2}},
			1024, 384, 0, 1024*2048 + 4*mib,
		},
		{
			"usage above the limit", []cgroup.HugePages{{PageSize: mb2, Limit: mb2, Usage: gib}},
			1, 0, 0, 2048 + 4*mib,
		},
		{
			"other size limited",
			[]cgroup.HugePages{{PageSize: gib, Limit: gib}, {PageSize: mb2, Limit: noLimit}},
			1024, 512, 128, 1024*2048 + mib,
		},
		{
			"both", []cgroup.HugePages{{PageSize: gib, Limit: 8 * gib}, {PageSize: mb2, Limit: mb2}},
			1, 1, 0, 2048 + 4*mib,
		},
		{"page size 0", []cgroup.HugePages{{}}, 1024, 512, 128, 1024 * 2048},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := meminfo(t, h, &cgroup.Memory{Huge: tt.huge}, view.MemOptions{})
			wantMem(t, got, map[string]uint64{
				"HugePages_Total": tt.total, "HugePages_Free": tt.free, "HugePages_Rsvd": tt.rsvd,
				"Hugetlb": tt.pool, "Hugepagesize": 2048,
			})
		})
	}
}

// TestZswap checks that Zswap and Zswapped are the cgroup's, and omitted without the option.
func TestZswap(t *testing.T) {
	h := loadHost(t, "6.18-x86_64")
	m := &cgroup.Memory{Stat: cgroup.MemoryStat{Zswap: mib, Zswapped: 3 * mib}}
	shown := meminfo(t, h, m, view.MemOptions{Zswap: true})
	wantMem(t, shown, map[string]uint64{"Zswap": kib, "Zswapped": 3 * kib})
	hidden := meminfo(t, h, m, view.MemOptions{})
	for _, key := range []string{"Zswap", "Zswapped"} {
		if n, ok := hidden[key]; ok {
			t.Errorf("%s is %d without the option", key, n)
		}
		delete(shown, key)
	}
	if len(hidden) != len(shown) {
		t.Errorf("%d lines without Zswap and Zswapped, want %d", len(hidden), len(shown))
	}
}

// TestHostLines checks the order of lines, and those that have the host's values.
func TestHostLines(t *testing.T) {
	for _, host := range hosts {
		h := loadHost(t, host)
		want := strings.Split(string(hostFile(t, host, "proc/meminfo")), "\n")
		m, o := &cgroup.Memory{}, view.MemOptions{Zswap: true}
		got := strings.Split(string(memText(nil, h.meminfo, h.total, m, o)), "\n")
		if len(got) != len(want) {
			t.Fatalf("%s: got %d lines, want %d", host, len(got), len(want))
		}
		for i, line := range want {
			key, _, _ := strings.Cut(line, ":")
			if !strings.HasPrefix(got[i], key) {
				t.Errorf("%s: line %d: got %q, want %s", host, i, got[i], key)
			}
			for _, prefix := range []string{
				"Vmalloc", "DirectMap", "Hardware", "Cma", "Bounce", "NFS_", "Huge", "ShadowCall",
			} {
				if strings.HasPrefix(line, prefix) && got[i] != line {
					t.Errorf("%s: got %q, want %q", host, got[i], line)
				}
			}
		}
	}
}
