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

// Meter is the mapped memory.
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

// NewPrivate returns a Meter that no other process can read.
func NewPrivate() *Meter { return &Meter{make([]byte, Size)} }

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
	if m.at(versionAt).Load() != version {
		m.at(versionAt).Store(0)
		clear(m.mem[8*requestsAt:])
		m.at(versionAt).Store(version)
	}
	m.Containers().Store(0)
	m.Triggers().Store(0)
}

// Read counts a read of f with the given duration. NoFile is not counted.
func (m *Meter) Read(f File, took time.Duration) {
	if f == NoFile {
		return
	}
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
	if f != NoFile {
		m.in(f, fallbacksAt).Add(1)
	}
}

// Error counts an error.
func (m *Meter) Error(k ErrorKind) { m.at(errorsAt + int(k)).Add(1) }

// Requests returns the number of answered requests, which the caller updates.
func (m *Meter) Requests() *atomic.Uint64 { return m.at(requestsAt) }

// Containers returns the number of known containers, which the caller updates.
func (m *Meter) Containers() *atomic.Uint64 { return m.at(containersAt) }

// Triggers returns the number of pressure triggers, which the caller updates.
func (m *Meter) Triggers() *atomic.Uint64 { return m.at(triggersAt) }

// WorkerUp returns 1 while a worker serves, which the caller updates.
func (m *Meter) WorkerUp() *atomic.Uint64 { return m.at(upAt) }

// Replaced counts a replaced worker.
func (m *Meter) Replaced(r Reason) { m.at(replacedAt + int(r)).Add(1) }
