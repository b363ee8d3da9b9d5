package meter

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"palisade/internal/linux/sys"
)

// FileName is the name by which the memory is passed to other processes.
const FileName = "counters"

// Meter is the mapped memory. A nil Meter counts nothing.
type Meter struct{ mem []byte }

// New creates the memory, and returns its file for other processes, which the caller closes.
func New() (*Meter, sys.File, error) {
	f, err := sys.MemfdCreate("lxcfs-counters", Size)
	if err != nil {
		return nil, f, err
	}
	mem, err := f.Map(Size)
	if err != nil {
		f.Close()
		return nil, f, err
	}
	copy(mem, magic)
	return &Meter{mem}, f, nil
}

// Open maps the memory in f for counting.
func Open(f sys.File) (*Meter, error) { return open(f, f.Map) }

// OpenReadOnly maps the memory in f for Counts only.
func OpenReadOnly(f sys.File) (*Meter, error) { return open(f, f.MapReadOnly) }

func open(f sys.File, mapFile func(size int) ([]byte, error)) (*Meter, error) {
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	if size != Size {
		return nil, fmt.Errorf("open counters: memory has %d bytes, want %d", size, Size)
	}
	mem, err := mapFile(Size)
	if err != nil {
		return nil, err
	}
	if string(mem[8*magicAt:len(magic)]) != magic {
		return nil, errors.Join(errors.New("open counters: bad magic"), sys.Unmap(mem))
	}
	return &Meter{mem}, nil
}

func (m *Meter) at(i int) *atomic.Uint64 { return sys.Uint64In(m.mem[8*i:]) }

func (m *Meter) in(f File, i int) *atomic.Uint64 { return m.at(filesAt + int(f)*fileSize + i) }

// Begin must be called by a worker before it counts. It keeps the counters of the previous worker,
// or resets those of another version.
func (m *Meter) Begin() {
	if m == nil {
		return
	}
	if m.at(versionAt).Load() != version {
		m.at(versionAt).Store(0)
		clear(m.mem[8*requestsAt:])
		m.at(versionAt).Store(version)
	}
	m.at(containersAt).Store(0)
	m.at(triggersAt).Store(0)
}

// Now returns the current time for Read. It returns the zero time if nothing is counted.
func (m *Meter) Now() time.Time {
	if m == nil {
		return time.Time{}
	}
	return time.Now()
}

// Read counts a read of f, whose content was generated since start.
func (m *Meter) Read(f File, start time.Time) {
	if m == nil || f == NoFile {
		return
	}
	m.Observe(f, time.Since(start))
}

// Observe counts a read of f with the given duration.
func (m *Meter) Observe(f File, took time.Duration) {
	bucket := 0
	for bucket < len(Bounds) && took > Bounds[bucket] {
		bucket++
	}
	m.in(f, timeAt).Add(uint64(took))
	m.in(f, bucketsAt+bucket).Add(1)
}

// Fallback counts a read that was answered with the host's content or that of an earlier read
// instead of the container's.
func (m *Meter) Fallback(f File) {
	if m != nil && f != NoFile {
		m.in(f, fallbacksAt).Add(1)
	}
}

// Error counts an error.
func (m *Meter) Error(k ErrorKind) {
	if m != nil {
		m.at(errorsAt + int(k)).Add(1)
	}
}

// Requests returns the number of answered requests, which the caller updates.
func (m *Meter) Requests() *atomic.Uint64 { return m.number(requestsAt) }

// Containers returns the number of known containers, which the caller updates.
func (m *Meter) Containers() *atomic.Uint64 { return m.number(containersAt) }

// Triggers returns the number of pressure triggers, which the caller updates.
func (m *Meter) Triggers() *atomic.Uint64 { return m.number(triggersAt) }

func (m *Meter) number(i int) *atomic.Uint64 {
	if m == nil {
		return new(atomic.Uint64)
	}
	return m.at(i)
}

// Up records whether a worker is serving.
func (m *Meter) Up(up bool) {
	if m == nil {
		return
	}
	var n uint64
	if up {
		n = 1
	}
	m.at(upAt).Store(n)
}

// Replaced counts a replaced worker.
func (m *Meter) Replaced(r Reason) {
	if m != nil {
		m.at(replacedAt + int(r)).Add(1)
	}
}
