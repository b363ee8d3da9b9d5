package procfs

import (
	"strconv"
	"strings"
	"testing"
)

func uintText(n uint64) string { return strconv.FormatUint(n, 10) }

// seed adds the fixtures of a file, whole and truncated.
func seed(f *testing.F, name string, hosts ...string) {
	for _, host := range hosts {
		text := hostFile(f, host, name)
		f.Add(text)
		f.Add(text[:len(text)/2])
	}
	f.Add([]byte(nil))
	f.Add([]byte("\n\n:\n"))
}

func FuzzParseMeminfo(f *testing.F) {
	seed(f, "proc/meminfo", hosts...)
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := ParseMeminfo(text)
		if err != nil {
			return
		}
		for _, l := range m.Lines {
			if l.Width < 0 || l.Width > memNumberEnd {
				t.Errorf("width: got %d, want at most %d", l.Width, memNumberEnd)
			}
		}
	})
}

// FuzzParseCpuinfo checks that only the replaced numbers are dropped.
func FuzzParseCpuinfo(f *testing.F) {
	seed(f, "proc/cpuinfo", append(hosts, cpuinfoHosts...)...)
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := ParseCpuinfo(text)
		if err != nil {
			return
		}
		rest := string(text)
		for _, s := range c.Sections {
			for _, p := range s.Pieces {
				i := strings.Index(rest, string(p.Text))
				if i < 0 || strings.Contains(rest[:i], "\n") {
					t.Fatalf("piece %q is not where it belongs in %q", p.Text, text)
				}
				rest = rest[i+len(p.Text):]
			}
		}
		if strings.Contains(rest, "\n") {
			t.Errorf("lost %q", rest)
		}
	})
}

func FuzzParseStat(f *testing.F) {
	seed(f, "proc/stat", hosts...)
	f.Fuzz(func(t *testing.T, text []byte) {
		if s, err := ParseStat(text); err == nil && s.Columns <= 0 {
			t.Errorf("columns: got %d", s.Columns)
		}
	})
}

func FuzzParseSwaps(f *testing.F) {
	seed(f, "proc/swaps", hosts...)
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := ParseSwaps(text)
		if err == nil && !strings.HasPrefix(string(text), string(s.Header)) {
			t.Errorf("header: got %q", s.Header)
		}
	})
}

func FuzzParseDiskstats(f *testing.F) {
	seed(f, "proc/diskstats", hosts...)
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := ParseDiskstats(text)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range s.Devices {
			if d.Name == "" || d.Columns < 0 {
				t.Errorf("got %+v", d)
			}
		}
	})
}

func FuzzParsePartitions(f *testing.F) {
	seed(f, "proc/partitions", hosts...)
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := ParsePartitions(text)
		if err != nil {
			return
		}
		for _, d := range p.Devices {
			if d.Name == "" {
				t.Errorf("got %+v", d)
			}
		}
	})
}
