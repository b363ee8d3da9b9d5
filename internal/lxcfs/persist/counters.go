package persist

import (
	"encoding/binary"
	"math"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"palisade/internal/linux/cgroup"
	"palisade/internal/lxcfs/account"
)

// ContainerCounters are the counters of a container.
type ContainerCounters struct {
	Clock account.CPUClock
	Load  account.Load
	// Sampled is the time of the last sample of Load, since boot.
	Sampled time.Duration
	// LastPID is the highest pid seen in the container's pid namespace.
	LastPID int
}

// Counters holds the ContainerCounters of all containers. Each has a record with its Key and two
// copies of the counters: Save writes the one that is not valid, and then switches them.
type Counters struct {
	header    *header
	records   []byte
	cpus      int // for which a record has room
	isRunning func(Key) bool

	mu    sync.Mutex
	byKey map[Key]int
	free  []int
	// sweptTo is the record at which the next sweep starts, and swept the time of the last one.
	sweptTo int
	swept   time.Time
}

const (
	// maxContainers bounds the records. The file has no pages for unused ones.
	maxContainers = 1 << 14
	// sweepInterval is the minimum interval of sweeps for records of ended containers, while all
	// records are used; sweepStep is the number of records per sweep, for which a reader waits.
	sweepInterval = 100 * time.Millisecond
	sweepStep     = 256

	countersFixed  = 12 * 8
	countersPerCPU = 4*8 + 3*8
)

// Record is the beginning of a container's record. The two copies follow.
type Record struct {
	used, valid uint32 // used is 0 or 1; valid is the number of the valid copy
	key         Key
	_           [32]byte
}

func copySize(cpus int) int   { return countersFixed + cpus*countersPerCPU }
func recordSize(cpus int) int { return int(unsafe.Sizeof(Record{})) + 2*copySize(cpus) }

func (s *Counters) init(h *header, records []byte, isRunning func(Key) bool) {
	s.header, s.records, s.cpus, s.isRunning = h, records, int(h.cpus), isRunning
	s.byKey = make(map[Key]int)
	for i := range int(min(h.top, maxContainers)) {
		if r := s.record(i); r.used != 0 {
			s.byKey[r.key] = i
		} else {
			s.free = append(s.free, i)
		}
	}
}

func (s *Counters) record(i int) *Record {
	return (*Record)(unsafe.Pointer(&s.records[i*recordSize(s.cpus)]))
}

// copy returns the memory of a copy of the counters.
func (s *Counters) copy(r *Record, number uint32) []byte {
	first := unsafe.Add(unsafe.Pointer(r), unsafe.Sizeof(*r))
	size := copySize(s.cpus)
	return unsafe.Slice((*byte)(unsafe.Add(first, int(number&1)*size)), size)
}

// Attach returns the record of a container, or nil if there is none, and sets c to what the last
// worker has saved in it.
func (s *Counters) Attach(key Key, c *ContainerCounters) *Record {
	if s.header == nil {
		return nil
	}
	s.mu.Lock()
	i, known := s.byKey[key]
	if !known {
		i = s.allocate(key)
	}
	s.mu.Unlock()
	if i < 0 {
		return nil
	}
	r := s.record(i)
	if known {
		c.decode(s.copy(r, r.valid), s.cpus)
	}
	return r
}

// Save writes c to its record. Counters for more CPUs than a record has room for are not kept.
func (s *Counters) Save(r *Record, c *ContainerCounters) {
	if r == nil || len(c.Clock.CPUs) > s.cpus || len(c.Clock.Used.PerCPU) > s.cpus {
		return
	}
	next := 1 - r.valid&1
	c.encode(s.copy(r, next)[:0])
	atomic.StoreUint32(&r.valid, next)
}

// allocate returns a free record for a container, or -1 if there is none; s.mu is held.
func (s *Counters) allocate(key Key) int {
	top := int(s.header.top)
	if len(s.free) == 0 && top >= maxContainers && time.Since(s.swept) > sweepInterval {
		s.sweep()
	}
	i := top
	switch n := len(s.free); {
	case n > 0:
		i, s.free = s.free[n-1], s.free[:n-1]
	case top < maxContainers:
		s.header.top++
	default:
		return -1
	}
	s.byKey[key] = i
	clear(s.records[i*recordSize(s.cpus):][:recordSize(s.cpus)])
	*s.record(i) = Record{used: 1, key: key}
	return i
}

// sweep frees the records of ended containers among the next sweepStep records; s.mu is held, and
// all records are used.
func (s *Counters) sweep() {
	for range sweepStep {
		i := s.sweptTo
		s.sweptTo = (i + 1) % maxContainers
		r := s.record(i)
		if r.used != 0 && !s.isRunning(r.key) {
			delete(s.byKey, r.key)
			r.used = 0
			s.free = append(s.free, i)
		}
	}
	s.swept = time.Now()
}

// encode appends the counters to b, which has room for them.
func (c *ContainerCounters) encode(b []byte) {
	put := func(values ...uint64) {
		for _, v := range values {
			b = binary.NativeEndian.AppendUint64(b, v)
		}
	}
	k := &c.Clock
	put(uint64(k.Age), uint64(k.Debt), uint64(c.Sampled), uint64(c.LastPID))
	for _, load := range c.Load {
		put(math.Float64bits(load))
	}
	put(uint64(len(k.CPUs)), uint64(len(k.Used.PerCPU)))
	put(k.Used.Total.User, k.Used.Total.Nice, k.Used.Total.System)
	for _, t := range k.CPUs {
		put(t.User, t.Nice, t.System, t.Idle)
	}
	for _, t := range k.Used.PerCPU {
		put(t.User, t.Nice, t.System)
	}
}

// decode reads what encode wrote, for at most so many CPUs.
func (c *ContainerCounters) decode(b []byte, cpus int) {
	next := func() uint64 {
		v := binary.NativeEndian.Uint64(b)
		b = b[8:]
		return v
	}
	usage := func() cgroup.CPUTime { return cgroup.CPUTime{User: next(), Nice: next(), System: next()} }
	k := &c.Clock
	k.Age, k.Debt = time.Duration(next()), int64(next())
	c.Sampled, c.LastPID = time.Duration(next()), int(next())
	for i := range c.Load {
		c.Load[i] = math.Float64frombits(next())
	}
	visible, used := min(int(next()), cpus), min(int(next()), cpus)
	k.Used.Total = usage()
	for range visible {
		k.CPUs = append(k.CPUs,
			account.CPUTime{User: next(), Nice: next(), System: next(), Idle: next()})
	}
	for range used {
		k.Used.PerCPU = append(k.Used.PerCPU, usage())
	}
}
