package procfs

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// hosts are the directories of testdata with all files, cpuinfoHosts those with cpuinfo only.
var (
	hosts = []string{
		"4.19-x86_64", "5.10-x86_64", "6.1-x86_64", "6.6-x86_64", "6.18-x86_64",
		"4.19-arm64", "5.10-arm64", "6.1-arm64", "6.6-arm64", "6.18-arm64",
	}
	cpuinfoHosts = []string{"s390x", "arm", "ppc64le", "riscv64", "loongarch64"}
)

func hostFile(tb testing.TB, host, name string) []byte {
	tb.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", host, name))
	if err != nil {
		tb.Fatal(err)
	}
	return text
}

// TestMeminfoRoundTrip formats the parsed lines with the host's values: the result must be the
// input.
func TestMeminfoRoundTrip(t *testing.T) {
	for _, host := range hosts {
		t.Run(host, func(t *testing.T) {
			text := hostFile(t, host, "proc/meminfo")
			m, err := ParseMeminfo(text)
			if err != nil {
				t.Fatal(err)
			}
			if got := memText(m); got != string(text) {
				t.Errorf("got:\n%s\nwant:\n%s", got, text)
			}
		})
	}
}

// memText formats the lines with the host's values.
func memText(m *Meminfo) string {
	var b strings.Builder
	for _, l := range m.Lines {
		b.Write(l.Head)
		if l.Field != MemOther {
			n := uintText(m.Values[l.Field])
			b.WriteString(strings.Repeat(" ", max(0, l.Width-len(n))) + n)
			b.Write(l.Tail)
		}
	}
	return b.String()
}

func TestParseMeminfo(t *testing.T) {
	const text = "MemTotal:       24684092 kB\nCached:            29420 kB\n" +
		"SwapCached:            7 kB\nActive:            13212 kB\nActive(anon):       1468 kB\n" +
		"Future:           123456 kB\nHugePages_Total:     512\nHugePages_Free:  1234567\n" +
		"HugePages_Rsvd:        3\nHugepagesize:       2048 kB\nDirty:             many kB\n" +
		"MemFree:        99999999999999999999999 kB\nno colon\n\nSlab:"
	m, err := ParseMeminfo([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	want := MemValues{
		MemTotal: 24684092, MemCached: 29420, MemSwapCached: 7, MemActive: 13212,
		MemActiveAnon: 1468, MemHugePagesTotal: 512, MemHugePagesFree: 1234567, MemHugePagesRsvd: 3,
		MemHugepagesize: 2048,
	}
	if m.Values != want {
		t.Errorf("values: got %v, want %v", m.Values, want)
	}
	if got := memText(m); got != text {
		t.Errorf("text: got %q, want %q", got, text)
	}
}

// TestMemField has keys that are prefixes of others.
func TestMemField(t *testing.T) {
	for key, want := range map[string]MemField{
		"Active": MemActive, "Active(anon)": MemActiveAnon, "Active(file)": MemActiveFile,
		"Cached": MemCached, "SwapCached": MemSwapCached, "Slab": MemSlab, "Slabs": MemOther,
		"Mem": MemOther, "Zswap": MemZswap, "Zswapped": MemZswapped, "Writeback": MemWriteback,
		"WritebackTmp": MemOther, "PageTables": MemPageTables, "SecPageTables": MemSecPageTables,
		"AnonHugePages": MemAnonHugePages, "HugePages_Total": MemHugePagesTotal,
		"Hugepagesize": MemHugepagesize, "FilePmdMapped": MemOther, "Mapped": MemMapped,
	} {
		if got := memField([]byte(key)); got != want {
			t.Errorf("%s: got field %d, want %d", key, got, want)
		}
	}
}

func TestParseCpuinfo(t *testing.T) {
	for _, tt := range []struct {
		name string
		cpus []int // CPU of each section
	}{
		{"6.18-x86_64", []int{0, 1}},
		{"6.1-arm64", []int{0, 1, 2, 3}},
		{"s390x", []int{AllCPUs, 0, 1, 2, 3, 0, 1, 2, 3}},
		{"arm", []int{0, 1, 2, 3, AllCPUs}},
		{"ppc64le", []int{0, 1, 2, 3, 4, 5, 6, 7, AllCPUs}},
		{"riscv64", []int{0, 1, 2, 3}},
		{"loongarch64", []int{AllCPUs, 0, 1, 2, 3}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := ParseCpuinfo(hostFile(t, tt.name, "proc/cpuinfo"))
			if err != nil {
				t.Fatal(err)
			}
			var got []int
			for _, s := range c.Sections {
				got = append(got, s.CPU)
			}
			if !slices.Equal(got, tt.cpus) {
				t.Errorf("sections: got %v, want %v", got, tt.cpus)
			}
		})
	}
}

// TestParseCpuinfoPieces checks where the file is split.
func TestParseCpuinfoPieces(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{
			"x86", "processor\t: 7\nphysical id\t: 1\nsiblings\t: 8\ncore id\t\t: 3\n" +
				"cpu cores\t: 4\napicid\t\t: 9\ninitial apicid\t: 9\nflags\t\t: a b\n\n",
			"[7]processor\t: <N>\nphysical id\t: <N>\nsiblings\t: <1>\ncore id\t\t: <0>\n" +
				"cpu cores\t: <1>\napicid\t\t: <N>\ninitial apicid\t: <N>\nflags\t\t: a b\n\n",
		},
		{
			"s390x", "# processors    : 2\nprocessor 1: version = FF\n" +
				"processor 4: version = FF\n\ncpu number      : 1\ncore id         : 5\n",
			"[-1]# processors    : <C>\n[1]processor <N>: version = FF\n" +
				"[4]processor <N>: version = FF\n[1]\ncpu number      : <N>\ncore id         : <0>\n",
		},
		{
			"tail", "processor : 0\n\nHardware : X\nprocessor : Y\n",
			"[0]processor : <N>\n\n[-1]Hardware : X\nprocessor : Y\n",
		},
		{
			"no value", "processor : 0\ncore id :\nsiblings",
			"[0]processor : <N>\ncore id :<0>\nsiblings",
		},
		{
			"old Arm", "Processor : ARMv6\nprocessor : 0\n",
			"[-1]Processor : ARMv6\n[0]processor : <N>\n",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := ParseCpuinfo([]byte(tt.text))
			if err != nil {
				t.Fatal(err)
			}
			if got := cpuinfoText(c); got != tt.want {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
		})
	}
}

// cpuinfoText formats the sections, each after its CPU, with placeholders for the numbers.
func cpuinfoText(c *Cpuinfo) string {
	placeholders := []string{
		CPUNone: "", CPUNumber: "<N>", CPUZero: "<0>", CPUOne: "<1>", CPUCount: "<C>",
	}
	var b strings.Builder
	for _, s := range c.Sections {
		fmt.Fprintf(&b, "[%d]", s.CPU)
		for _, p := range s.Pieces {
			b.Write(p.Text)
			b.WriteString(placeholders[p.Number])
		}
	}
	return b.String()
}

func TestParseStat(t *testing.T) {
	const text = "cpu  1 2 3 4 5 6 7 8 9 10\ncpu0 1 2 3 4 5 6 7 8 9 10\ncpu11 0 0\nintr 5 0 1\n" +
		"ctxt 6\nbtime 7\nprocesses 8\nprocs_running 9\nprocs_blocked 1\nsoftirq 1 2\ncpufuture 3\n"
	s, err := ParseStat([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if s.Columns != 10 || s.BootTime != 7 {
		t.Errorf("got %d columns and btime %d, want 10 and 7", s.Columns, s.BootTime)
	}
	var got []string
	for _, l := range s.Lines {
		got = append(got, uintText(uint64(l.Field))+":"+string(l.Text))
	}
	want := []string{
		"1:cpu", "0:intr 5 0 1\n", "0:ctxt 6\n", "5:btime", "2:processes", "3:procs_running",
		"4:procs_blocked", "0:softirq 1 2\n", "0:cpufuture 3\n",
	}
	if !slices.Equal(got, want) {
		t.Errorf("lines: got %q, want %q", got, want)
	}
}

func TestParseSwaps(t *testing.T) {
	for host, wide := range map[string]bool{
		"4.19-x86_64": false, "5.10-x86_64": true, "6.18-x86_64": true,
	} {
		text := hostFile(t, host, "proc/swaps")
		s, err := ParseSwaps(text)
		if err != nil {
			t.Fatal(err)
		}
		header, _, _ := bytes.Cut(text, []byte{'\n'})
		if s.Wide != wide || string(s.Header) != string(header)+"\n" {
			t.Errorf("%s: got %q wide %v, want %q wide %v", host, s.Header, s.Wide, header, wide)
		}
	}
}

func TestParseDiskstats(t *testing.T) {
	const text = "   8       0 sda 1 2 3 4 5 6 7 8 9 10 11\n" +
		"  8  1 sda1 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17\n" +
		"\n99999999999 0 bad 1\n8 x bad 1\n 104 0 cciss/c0d0\n8"
	s, err := ParseDiskstats([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	want := []DiskLine{
		{Device: Device{8, 0}, Name: "sda", Columns: 11},
		{Device: Device{8, 1}, Name: "sda1", Columns: 17},
		{Device: Device{104, 0}, Name: "cciss/c0d0"},
	}
	if !slices.Equal(s.Devices, want) {
		t.Errorf("got %v, want %v", s.Devices, want)
	}
}

func TestParsePartitions(t *testing.T) {
	const text = "major minor  #blocks  name\n\n   8        0  468851544 sda\n" +
		"   8        1    1048576 sda1\n8 2 x sda2\n8 3 7\n"
	p, err := ParsePartitions([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	want := []DiskLine{
		{Device: Device{8, 0}, Blocks: 468851544, Name: "sda"},
		{Device: Device{8, 1}, Blocks: 1048576, Name: "sda1"},
	}
	if !slices.Equal(p.Devices, want) || string(p.Header) != "major minor  #blocks  name\n\n" {
		t.Errorf("got header %q, %v, want %v", p.Header, p.Devices, want)
	}
}

func TestParseErrors(t *testing.T) {
	for _, tt := range []struct {
		name, text, want string
		parse            func([]byte) error
	}{
		{"meminfo", "Cached: 1 kB\n", "no MemTotal", errorOf(ParseMeminfo)},
		{"cpuinfo", "Processor : x\n", "no processor", errorOf(ParseCpuinfo)},
		{"stat", "ctxt 1\n", "no cpu line", errorOf(ParseStat)},
		{"swaps", "Filename", "no header", errorOf(ParseSwaps)},
		{"partitions", "", "no header", errorOf(ParsePartitions)},
		{"online", "\n", "empty CPU list", errorOf(parseCPUs)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := tt.parse([]byte(tt.text)); err == nil || err.Error() != tt.want {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}

func errorOf[T any](parse func([]byte) (*T, error)) func([]byte) error {
	return func(text []byte) error {
		_, err := parse(text)
		return err
	}
}

// TestMemKeys has a key for each field, in the same order.
func TestMemKeys(t *testing.T) {
	if len(memKeys) != int(MemFields)-1 {
		t.Errorf("%d keys for %d fields", len(memKeys), MemFields-1)
	}
	for key, want := range map[string]MemField{
		"MemTotal": MemTotal, "Cached": MemCached, "Unevictable": MemUnevictable, "Slab": MemSlab,
		"CommitLimit": MemCommitLimit, "HugePages_Total": MemHugePagesTotal, "Hugetlb": MemHugetlb,
		"CmaTotal": MemOther,
	} {
		if got := memField([]byte(key)); got != want {
			t.Errorf("%s: got field %d, want %d", key, got, want)
		}
	}
}
