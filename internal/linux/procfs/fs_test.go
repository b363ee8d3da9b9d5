package procfs

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"palisade/internal/linux/cpulist"
	"palisade/internal/linux/sys"
)

// fakeHost is a host whose files and clock a test can change.
type fakeHost struct {
	*FS
	t   *testing.T
	dir string
	now time.Time
}

func newFakeHost(t *testing.T) *fakeHost {
	t.Helper()
	h := &fakeHost{t: t, dir: t.TempDir(), now: time.Unix(1000, 0)}
	for name, text := range map[string]string{
		"proc/meminfo": "MemTotal:           1000 kB\n",
		"proc/cpuinfo": "processor\t: 0\ncpu MHz\t: 1\n\nprocessor\t: 1\ncpu MHz\t: 1\n\n",
		"proc/stat":    "cpu  1 2 3 4\n",
		"proc/swaps":   "Filename\n",
		"proc/diskstats": "   8       0 sda 1\n   8       1 sda1 1\n" +
			" 104       0 cciss/c0d0 1\n",
		"proc/partitions": "major minor  #blocks  name\n\n" +
			"   8        0  5 sda\n   8        1  5 sda1\n",
		"proc/slabinfo":                   "slabinfo - version: 2.1\n",
		"proc/pressure/io":                "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
		"sys/devices/system/cpu/online":   "0-1\n",
		"sys/devices/system/cpu/possible": "0-3\n",
		"sys/block/sda/size":              "10\n",
		"sys/block/cciss!c0d0/size":       "10\n",
	} {
		h.write(name, text)
	}
	fs, err := New(filepath.Join(h.dir, "proc"), filepath.Join(h.dir, "sys"))
	if err != nil {
		t.Fatal(err)
	}
	fs.now = func() time.Time { return h.now }
	h.FS = fs
	t.Cleanup(func() {
		if err := fs.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

func (h *fakeHost) write(name, text string) {
	h.t.Helper()
	path := filepath.Join(h.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		h.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		h.t.Fatal(err)
	}
}

func (h *fakeHost) memTotal() uint64 {
	h.t.Helper()
	m, err := h.Meminfo()
	if err != nil {
		h.t.Fatal(err)
	}
	return m.Values[MemTotal]
}

func TestOldSnapshotIsReplaced(t *testing.T) {
	h := newFakeHost(t)
	if got := h.memTotal(); got != 1000 {
		t.Fatalf("MemTotal: got %d, want 1000", got)
	}
	h.write("proc/meminfo", "MemTotal: 2000 kB\n")
	h.now = h.now.Add(maxAge - 1)
	if got := h.memTotal(); got != 1000 {
		t.Errorf("MemTotal before maxAge: got %d, want 1000", got)
	}
	h.now = h.now.Add(1)
	if got := h.memTotal(); got != 2000 {
		t.Errorf("MemTotal at maxAge: got %d, want 2000", got)
	}
}

// TestReadersDoNotWait blocks one reader in a read: the others must get the last snapshot, or read
// for themselves if that is too old.
func TestReadersDoNotWait(t *testing.T) {
	var s source[int]
	start := time.Unix(1000, 0)
	begin, finish := make(chan bool), make(chan bool)
	slow, fast := 1, 2
	load := func() (*int, error) { return &fast, nil }
	s.init(maxAge, func() (*int, error) { return load() })
	get := func(age time.Duration) int {
		v, err := s.get(start.Add(age))
		if err != nil {
			t.Fatal(err)
		}
		return *v
	}
	if got := get(0); got != fast {
		t.Fatalf("first: got %d, want %d", got, fast)
	}

	load = func() (*int, error) {
		begin <- true
		<-finish
		return &slow, nil
	}
	var wg sync.WaitGroup
	wg.Go(func() { _, _ = s.get(start.Add(maxAge)) })
	<-begin
	third := 3
	load = func() (*int, error) { return &third, nil }
	if got := get(maxAge + grace - 1); got != fast {
		t.Errorf("during a read: got %d, want the last, %d", got, fast)
	}
	if got := get(maxAge + grace); got != third {
		t.Errorf("during a read that takes too long: got %d, want its own, %d", got, third)
	}
	close(finish)
	wg.Wait()
	if got := get(maxAge + grace + 1); got != third {
		t.Errorf("after it: got %d, want the one whose read began last, %d", got, third)
	}
}

func TestErrorIsNotCached(t *testing.T) {
	h := newFakeHost(t)
	h.write("proc/meminfo", "")
	if _, err := h.Meminfo(); err == nil || err.Error() != "parse meminfo: no MemTotal" {
		t.Fatalf("got %v, want parse meminfo: no MemTotal", err)
	}
	h.write("proc/meminfo", "MemTotal: 2000 kB\n")
	if got := h.memTotal(); got != 2000 {
		t.Errorf("MemTotal: got %d, want 2000", got)
	}
}

func TestConcurrentReaders(t *testing.T) {
	h := newFakeHost(t)
	h.FS.now = time.Now
	h.meminfo.maxAge = 0 // each read replaces the snapshot
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 500 {
				if m, err := h.Meminfo(); err != nil || m.Values[MemTotal] != 1000 {
					t.Errorf("meminfo: got %v, %v", m, err)
					return
				}
				if _, err := h.Cpuinfo(); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestCpuinfoFollowsHotplug(t *testing.T) {
	h := newFakeHost(t)
	sections := func() string {
		t.Helper()
		c, err := h.Cpuinfo()
		if err != nil {
			t.Fatal(err)
		}
		return cpuinfoText(c)
	}
	two := sections()
	h.write("proc/cpuinfo", "processor\t: 0\ncpu MHz\t: 2\n\n")
	h.now = h.now.Add(maxAge)
	if got := sections(); got != two {
		t.Errorf("same CPUs: got %q, want %q", got, two)
	}
	h.write("sys/devices/system/cpu/online", "0\n")
	h.now = h.now.Add(maxAge)
	one := sections()
	if want := "[0]processor\t: <N>\ncpu MHz\t: 2\n\n"; one != want {
		t.Errorf("after hotplug: got %q, want %q", one, want)
	}
	h.write("proc/cpuinfo", "processor\t: 0\ncpu MHz\t: 3\n\n")
	h.now = h.now.Add(cpuinfoMaxAge)
	if got, want := sections(), "[0]processor\t: <N>\ncpu MHz\t: 3\n\n"; got != want {
		t.Errorf("after a second: got %q, want %q", got, want)
	}
}

func TestSnapshots(t *testing.T) {
	h := newFakeHost(t)
	online, err := h.Online()
	if err != nil || *online != cpulist.Of(0, 1) {
		t.Errorf("online: got %v, %v", online, err)
	}
	possible, err := h.Possible()
	if err != nil || *possible != cpulist.Of(0, 1, 2, 3) {
		t.Errorf("possible: got %v, %v", possible, err)
	}
	if s, err := h.Stat(); err != nil || s.Columns != 4 {
		t.Errorf("stat: got %v, %v", s, err)
	}
	if s, err := h.Swaps(); err != nil || string(s.Header) != "Filename\n" {
		t.Errorf("swaps: got %v, %v", s, err)
	}
	d, err := h.Diskstats()
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []bool{false, true, false} {
		if got := d.Devices[i]; got.Partition != want {
			t.Errorf("diskstats: %s: partition %v, want %v", got.Name, got.Partition, want)
		}
	}
	p, err := h.Partitions()
	if err != nil || p.Devices[0].Partition || !p.Devices[1].Partition {
		t.Errorf("partitions: got %+v, %v", p, err)
	}
}

// TestSysinfoIsCurrent changes the swap: the next call must return it.
func TestSysinfoIsCurrent(t *testing.T) {
	h := newFakeHost(t)
	var now sys.Sysinfo
	h.Sysinfo = func() (sys.Sysinfo, error) { return now, nil }
	for _, want := range []uint64{0, 1 << 30, 0} {
		now.SwapTotal = want
		if got, err := h.FS.Sysinfo(); err != nil || got.SwapTotal != want {
			t.Errorf("SwapTotal: got %d, %v, want %d", got.SwapTotal, err, want)
		}
	}
}

func TestRaw(t *testing.T) {
	h := newFakeHost(t)
	for _, tt := range []struct{ name, want string }{
		{"meminfo", "MemTotal:           1000 kB\n"},
		{"slabinfo", "slabinfo - version: 2.1\n"},
		{"cpu/online", "0-1\n"},
		{"pressure/io", "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"},
	} {
		got, err := h.Raw(tt.name, []byte("x"))
		if err != nil || string(got) != "x"+tt.want {
			t.Errorf("%s: got %q, %v, want x%s", tt.name, got, err, tt.want)
		}
	}
	h.write("proc/meminfo", "new")
	buf := make([]byte, 1, 100)
	got, err := h.Raw("meminfo", buf[:0])
	if err != nil || string(got) != "new" || &got[0] != &buf[0] {
		t.Errorf("got %q, %v, want new in the given buffer", got, err)
	}
	for _, name := range []string{"", "kcore", "../secret", "uptime", "cpu/kernel_max"} {
		if got, err := h.Raw(name, []byte("x")); !errors.Is(err, os.ErrNotExist) || string(got) != "x" {
			t.Errorf("%q: got %q, %v, want file does not exist", name, got, err)
		}
	}
}

func TestMissingRoots(t *testing.T) {
	dir := t.TempDir()
	if _, err := New(filepath.Join(dir, "none"), dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("proc: got %v", err)
	}
	if _, err := New(dir, filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("sys: got %v", err)
	}
	fs, err := New(dir, dir)
	if err != nil {
		t.Fatal(err)
	}
	defer fs.Close()
	for name, read := range map[string]func() error{
		"meminfo":    func() error { _, err := fs.Meminfo(); return err },
		"cpuinfo":    func() error { _, err := fs.Cpuinfo(); return err },
		"online":     func() error { _, err := fs.loadCpuinfo(); return err },
		"diskstats":  func() error { _, err := fs.Diskstats(); return err },
		"partitions": func() error { _, err := fs.Partitions(); return err },
	} {
		if err := read(); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: got %v, want file does not exist", name, err)
		}
	}
}

func TestWarmReadsDoNotAllocate(t *testing.T) {
	h := newFakeHost(t)
	for name, read := range map[string]func(){
		"Meminfo":    func() { _, _ = h.Meminfo() },
		"Cpuinfo":    func() { _, _ = h.Cpuinfo() },
		"Stat":       func() { _, _ = h.Stat() },
		"Diskstats":  func() { _, _ = h.Diskstats() },
		"Partitions": func() { _, _ = h.Partitions() },
		"Sysinfo":    func() { _, _ = h.FS.Sysinfo() },
	} {
		if n := testing.AllocsPerRun(100, read); n != 0 {
			t.Errorf("%s: got %v allocations, want 0", name, n)
		}
	}
}
