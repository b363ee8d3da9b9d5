package procfs

import "testing"

func BenchmarkMeminfo(b *testing.B) {
	fs, err := New("testdata/6.18-x86_64/proc", "testdata/6.18-x86_64/sys")
	if err != nil {
		b.Fatal(err)
	}
	defer fs.Close()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := fs.Meminfo(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseMeminfo(b *testing.B) {
	benchmarkParse(b, "proc/meminfo", ParseMeminfo)
}

func BenchmarkParseCpuinfo16(b *testing.B) {
	benchmarkParse(b, "proc/cpuinfo", ParseCpuinfo)
}

func benchmarkParse[T any](b *testing.B, name string, parse func([]byte) (*T, error)) {
	text := hostFile(b, "5.10-x86_64", name)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := parse(text); err != nil {
			b.Fatal(err)
		}
	}
}
