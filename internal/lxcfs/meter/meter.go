package meter

import (
	"errors"
	"fmt"
	"time"
	"unsafe"

	"palisade/internal/linux/sys"
)

// FileName is the name by which the memory is passed to other processes.
const FileName = "counters"

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
	m := in(mem)
	m.magic = magic
	return m, f, nil
}

// NewPrivate returns a Meter that no other process can read.
func NewPrivate() *Meter { return new(Meter) }

func in(mem []byte) *Meter { return (*Meter)(unsafe.Pointer(&mem[0])) }

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
	if in(mem).magic != magic {
		return nil, errors.Join(errors.New("open counters: bad magic"), sys.Unmap(mem))
	}
	return in(mem), nil
}

// Begin must be called by a worker before it counts. It keeps the counters of the previous worker,
// or resets those of another version.
func (m *Meter) Begin() {
	if m.version.Load() != version {
		m.version.Store(0)
		m.workerCounters = workerCounters{}
		m.version.Store(version)
	}
	m.Containers.Store(0)
	m.Triggers.Store(0)
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
	m.files[f].nanoseconds.Add(uint64(took))
	m.files[f].buckets[bucket].Add(1)
}

// Fallback counts a read that was answered with the host's content or that of an earlier read
// instead of the container's.
func (m *Meter) Fallback(f File) {
	if f != NoFile {
		m.files[f].fallbacks.Add(1)
	}
}

// Error counts an error.
func (m *Meter) Error(k ErrorKind) { m.errors[k].Add(1) }

// Replaced counts a replaced worker.
func (m *Meter) Replaced(r Reason) { m.replaced[r].Add(1) }
