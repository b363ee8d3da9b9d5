package meter

import (
	"errors"
	"strings"
	"syscall"
	"testing"
	"time"

	"palisade/internal/sys"
)

func newMeter(t *testing.T) (*Meter, sys.File) {
	t.Helper()
	m, f, err := New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close(); sys.Unmap(m.mem) })
	return m, f
}

func opened(t *testing.T, f sys.File, open func(sys.File) (*Meter, error)) *Meter {
	t.Helper()
	m, err := open(f)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sys.Unmap(m.mem) })
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

// TestCounts counts as a supervisor and two workers one after the other do, and reads that as another process.
func TestCounts(t *testing.T) {
	supervisor, f := newMeter(t)
	reader := opened(t, readOnly(t, f), OpenReadOnly)
	if c := counts(t, reader); c.WorkerUp || c.Requests != 0 || c.Files[Meminfo].Reads != 0 {
		t.Errorf("before a worker: %+v", c)
	}
	for range 2 {
		worker := opened(t, f, Open)
		worker.Begin()
		supervisor.Up(true)
		worker.Requests().Add(3)
		worker.Containers().Store(7)
		worker.Triggers().Store(1)
		worker.Error(Stuck)
		worker.Fallback(Meminfo)
		worker.Read(Stat, worker.Now().Add(-20*time.Millisecond))
		for _, took := range []time.Duration{-1, 10 * time.Microsecond, 11 * time.Microsecond, time.Second, time.Hour} {
			worker.Observe(Meminfo, took)
		}
		supervisor.Replaced(Killed)
	}
	c := counts(t, reader)
	if !c.WorkerUp || c.Requests != 6 || c.Containers != 7 || c.Triggers != 1 || c.Errors[Stuck] != 2 || c.Replaced[Killed] != 2 || c.Replaced[Hung] != 0 {
		t.Errorf("%+v", c)
	}
	m := c.Files[Meminfo]
	if want := [len(Bounds)]uint64{4, 6, 6, 6, 6, 6, 6, 6, 8}; m.Buckets != want || m.Reads != 10 || m.Fallbacks != 2 {
		t.Errorf("%+v, want %v", m, want)
	}
	if want := 2 * (time.Hour + time.Second + 20*time.Microsecond); m.Time < want || m.Time > want+time.Millisecond {
		t.Errorf("%v, want %v", m.Time, want)
	}
	if s := c.Files[Stat]; s.Reads != 2 || s.Buckets[7] != 2 || s.Buckets[6] != 0 {
		t.Errorf("%+v", s)
	}
	opened(t, f, Open).Begin()
	if c := counts(t, reader); c.Containers != 0 || c.Triggers != 0 || c.Requests != 6 {
		t.Errorf("a new worker begins with %+v", c)
	}
}

// TestOtherVersion has a worker of another version count.
func TestOtherVersion(t *testing.T) {
	m, f := newMeter(t)
	m.Begin()
	m.Requests().Add(5)
	m.Replaced(Upgraded)
	m.at(versionAt).Store(version + 1)
	if _, err := m.Counts(); !errors.Is(err, ErrOtherVersion) {
		t.Errorf("read of another version: %v", err)
	}
	worker := opened(t, f, Open)
	worker.Begin()
	if c := counts(t, m); c.Requests != 0 || c.Replaced[Upgraded] != 1 {
		t.Errorf("it begins with %+v", c)
	}
}

// TestReadOnly makes sure that who is to read the counters cannot change them.
func TestReadOnly(t *testing.T) {
	_, f := newMeter(t)
	r := readOnly(t, f)
	if _, err := Open(r); !errors.Is(err, syscall.EACCES) {
		t.Errorf("mapped for writing: %v", err)
	}
	if n, err := r.Write([]byte("x")); !errors.Is(err, syscall.EBADF) {
		t.Errorf("%d bytes are written: %v", n, err)
	}
	m := opened(t, r, OpenReadOnly)
	if err := syscall.Mprotect(m.mem, syscall.PROT_READ|syscall.PROT_WRITE); !errors.Is(err, syscall.EACCES) {
		t.Errorf("made writable: %v", err)
	}
}

func TestOpenRubbish(t *testing.T) {
	for name, c := range map[string]struct {
		size int
		want string
	}{"short": {4096, "has 4096 bytes"}, "of zeroes": {Size, "no memory of counters"}} {
		f, err := sys.MemfdCreate("rubbish", c.size)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := Open(f); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestNothing counts where nothing is counted.
func TestNothing(t *testing.T) {
	var m *Meter
	m.Begin()
	m.Read(Meminfo, m.Now())
	m.Fallback(Meminfo)
	m.Error(Panic)
	m.Up(true)
	m.Replaced(Hung)
	m.Requests().Add(1)
}

// TestAllocations makes sure that to count takes no memory.
func TestAllocations(t *testing.T) {
	shared, _ := newMeter(t)
	shared.Begin()
	for _, m := range []*Meter{nil, shared} {
		n := testing.AllocsPerRun(100, func() {
			m.Read(Meminfo, m.Now())
			m.Fallback(Meminfo)
			m.Error(Figures)
		})
		if n != 0 {
			t.Errorf("%v allocations", n)
		}
	}
}

// TestNames makes sure that each has one of its own.
func TestNames(t *testing.T) {
	seen := map[string]bool{"": true}
	for f := NoFile + 1; f < files; f++ {
		if seen[f.String()] {
			t.Errorf("file %d is %q", f, f)
		}
		seen[f.String()] = true
	}
	for k := range kinds {
		if k.String() == "" {
			t.Errorf("kind %d has no name", k)
		}
	}
	for r := range reasons {
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
		m.Read(Meminfo, m.Now())
	}
}
