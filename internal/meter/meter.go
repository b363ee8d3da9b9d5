package meter

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"palisade/internal/sys"
)

// FileName is what other processes know the memory by.
const FileName = "counters"

// Meter is the memory. A nil Meter counts nothing.
type Meter struct{ mem []byte }

// New makes the memory, and a file by which another process can open it.
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

// Open opens the memory of another process, to count in it.
func Open(f sys.File) (*Meter, error) { return open(f, f.Map) }

// OpenReadOnly opens it for Counts alone.
func OpenReadOnly(f sys.File) (*Meter, error) { return open(f, f.MapReadOnly) }

func open(f sys.File, mapped func(size int) ([]byte, error)) (*Meter, error) {
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	if size != Size {
		return nil, fmt.Errorf("the memory of counters has %d bytes, not %d", size, Size)
	}
	mem, err := mapped(Size)
	if err != nil {
		return nil, err
	}
	if string(mem[8*magicAt:len(magic)]) != magic {
		return nil, errors.Join(errors.New("this is no memory of counters"), sys.Unmap(mem))
	}
	return &Meter{mem}, nil
}

func (m *Meter) at(i int) *atomic.Uint64 { return sys.Uint64In(m.mem[8*i:]) }

func (m *Meter) in(f File, i int) *atomic.Uint64 { return m.at(filesAt + int(f)*fileSize + i) }

// Begin is called by a worker before it counts. It counts on where the last one has ended; one of another version begins anew.
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

// Now is when something begins that is measured, nothing where nothing is.
func (m *Meter) Now() time.Time {
	if m == nil {
		return time.Time{}
	}
	return time.Now()
}

// Read counts a read for which the text was made, from Now on.
func (m *Meter) Read(f File, began time.Time) {
	if m == nil || f == NoFile {
		return
	}
	m.Observe(f, time.Since(began))
}

// Observe counts a read that took so long.
func (m *Meter) Observe(f File, took time.Duration) {
	bucket := 0
	for bucket < len(Bounds) && took > Bounds[bucket] {
		bucket++
	}
	m.in(f, timeIn).Add(uint64(took))
	m.in(f, bucketsIn+bucket).Add(1)
}

// Fallback counts a read that was answered with the host's text, or an old one, though the file was to be the container's.
func (m *Meter) Fallback(f File) {
	if m != nil && f != NoFile {
		m.in(f, fallbacksIn).Add(1)
	}
}

// Error counts an error.
func (m *Meter) Error(k Kind) {
	if m != nil {
		m.at(errorsAt + int(k)).Add(1)
	}
}

// Requests is the number of requests that were answered, Containers that of those which are known, Triggers that of pressure
// triggers which are set. Somebody else changes them.
func (m *Meter) Requests() *atomic.Uint64   { return m.number(requestsAt) }
func (m *Meter) Containers() *atomic.Uint64 { return m.number(containersAt) }
func (m *Meter) Triggers() *atomic.Uint64   { return m.number(triggersAt) }

func (m *Meter) number(i int) *atomic.Uint64 {
	if m == nil {
		return new(atomic.Uint64)
	}
	return m.at(i)
}

// Up notes whether a worker serves.
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

// Replaced counts a worker that was replaced.
func (m *Meter) Replaced(r Reason) {
	if m != nil {
		m.at(replacedAt + int(r)).Add(1)
	}
}
