package meter

import (
	"errors"
	"maps"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"palisade/internal/linux/sys"
)

func newMeter(t *testing.T) (*Meter, sys.File) {
	t.Helper()
	m, f, err := New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return m, f
}

func opened(t *testing.T, f sys.File, open func(sys.File) (*Meter, error)) *Meter {
	t.Helper()
	m, err := open(f)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func readOnly(t *testing.T, f sys.File) sys.File {
	t.Helper()
	r, err := f.ReopenReadOnly()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func counts(t *testing.T, m *Meter) Counts {
	t.Helper()
	c, err := m.Counts()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestCounts counts in a supervisor and two successive workers, and reads the counters as
// lxcfs-metrics does.
func TestCounts(t *testing.T) {
	supervisor, f := newMeter(t)
	reader := opened(t, readOnly(t, f), OpenReadOnly)
	if c := counts(t, reader); c.WorkerUp != 0 || c.Requests != 0 || c.Files[Meminfo].Reads != 0 {
		t.Errorf("before a worker: %+v", c)
	}
	for range 2 {
		worker := opened(t, f, Open)
		worker.Begin()
		supervisor.WorkerUp.Store(1)
		worker.Requests.Add(3)
		worker.Containers.Store(7)
		worker.Triggers.Store(1)
		worker.Error(Stuck)
		worker.Fallback(Meminfo)
		worker.Read(Stat, 20*time.Millisecond)
		for _, took := range []time.Duration{
			-1, 10 * time.Microsecond, 11 * time.Microsecond, time.Second, time.Hour,
		} {
			worker.Read(Meminfo, took)
		}
		supervisor.Replaced(Killed)
	}
	c := counts(t, reader)
	if c.WorkerUp != 1 || c.Requests != 6 || c.Containers != 7 || c.Triggers != 1 ||
		c.Errors[Stuck] != 2 || c.Replaced[Killed] != 2 || c.Replaced[Hung] != 0 {
		t.Errorf("%+v", c)
	}
	m := c.Files[Meminfo]
	want := map[float64]uint64{
		1e-5: 4, 2.5e-5: 6, 5e-5: 6, 1e-4: 6, 2.5e-4: 6, 1e-3: 6, 1e-2: 6, 0.1: 6, 1: 8,
	}
	if !maps.Equal(m.Buckets, want) || m.Reads != 10 || m.Fallbacks != 2 {
		t.Errorf("%+v, want %v", m, want)
	}
	wantTime := 2 * (time.Hour + time.Second + 20*time.Microsecond)
	if m.Time < wantTime || m.Time > wantTime+time.Millisecond {
		t.Errorf("%v, want %v", m.Time, wantTime)
	}
	if s := c.Files[Stat]; s.Reads != 2 || s.Buckets[0.1] != 2 || s.Buckets[0.01] != 0 {
		t.Errorf("%+v", s)
	}
	opened(t, f, Open).Begin()
	if c := counts(t, reader); c.Containers != 0 || c.Triggers != 0 || c.Requests != 6 {
		t.Errorf("after Begin: %+v", c)
	}
}

// TestOtherVersion has the counters of another version, which a worker must reset.
func TestOtherVersion(t *testing.T) {
	m, f := newMeter(t)
	m.Begin()
	m.Requests.Add(5)
	m.Replaced(Upgraded)
	m.version.Store(version + 1)
	if _, err := m.Counts(); !errors.Is(err, ErrOtherVersion) {
		t.Errorf("read of another version: %v", err)
	}
	worker := opened(t, f, Open)
	worker.Begin()
	if c := counts(t, m); c.Requests != 0 || c.Replaced[Upgraded] != 1 {
		t.Errorf("after Begin: %+v", c)
	}
}

// TestReadOnly checks that the reader of the counters cannot change them.
func TestReadOnly(t *testing.T) {
	_, f := newMeter(t)
	r := readOnly(t, f)
	if _, err := Open(r); !errors.Is(err, syscall.EACCES) {
		t.Errorf("mapped for writing: %v", err)
	}
	if n, err := r.Write([]byte("x")); !errors.Is(err, syscall.EBADF) {
		t.Errorf("%d bytes written: %v", n, err)
	}
	m := opened(t, r, OpenReadOnly)
	err := syscall.Mprotect(unsafe.Slice((*byte)(unsafe.Pointer(m)), Size), syscall.PROT_READ|syscall.PROT_WRITE)
	if !errors.Is(err, syscall.EACCES) {
		t.Errorf("made writable: %v", err)
	}
}

func TestOpenErrors(t *testing.T) {
	for name, c := range map[string]struct {
		size int
		want string
	}{"short": {4096, "has 4096 bytes"}, "zeros": {Size, "bad magic"}} {
		f, err := sys.MemfdCreate("test", c.size)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := Open(f); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestPrivate counts in memory that no other process has.
func TestPrivate(t *testing.T) {
	m := NewPrivate()
	m.Begin()
	m.Read(Meminfo, time.Second)
	m.Fallback(Meminfo)
	m.Error(Panic)
	m.WorkerUp.Store(1)
	m.Replaced(Hung)
	m.Requests.Add(1)
	if c := counts(t, m); c.Files[Meminfo].Reads != 1 || c.WorkerUp != 1 {
		t.Errorf("%+v", c)
	}
}

// TestAllocations checks that counting does not allocate.
func TestAllocations(t *testing.T) {
	shared, _ := newMeter(t)
	shared.Begin()
	for _, m := range []*Meter{NewPrivate(), shared} {
		n := testing.AllocsPerRun(100, func() {
			m.Read(Meminfo, time.Millisecond)
			m.Fallback(Meminfo)
			m.Error(Stats)
		})
		if n != 0 {
			t.Errorf("%v allocations", n)
		}
	}
}

// TestNames checks that names are set, and those of files unique.
func TestNames(t *testing.T) {
	seen := map[string]bool{"": true}
	for f := NoFile + 1; f < numFiles; f++ {
		if seen[f.String()] {
			t.Errorf("file %d is %q", f, f)
		}
		seen[f.String()] = true
	}
	for k := range numErrorKinds {
		if k.String() == "" {
			t.Errorf("kind %d has no name", k)
		}
	}
	for r := range numReasons {
		if r.String() == "" {
			t.Errorf("reason %d has no name", r)
		}
	}
}

func BenchmarkRead(b *testing.B) {
	m, f, err := New()
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	for b.Loop() {
		m.Read(Meminfo, time.Millisecond)
	}
}
