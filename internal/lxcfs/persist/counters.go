package persist

import (
	"slices"
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
)

// Record is the beginning of a container's record. The two copies follow.
type Record struct {
	used, valid uint32 // used is 0 or 1; valid is the number of the valid copy
	key         Key
	_           [32]byte
}

func copySize(cpus int) int {
	const perCPU = unsafe.Sizeof(account.CPUTime{}) + unsafe.Sizeof(cgroup.CPUTime{})
	return int(unsafe.Sizeof(fixedCounters{})) + cpus*int(perCPU)
}

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

// copy returns one of the two copies of the counters.
func (s *Counters) copy(r *Record, number uint32) *fixedCounters {
	first := unsafe.Add(unsafe.Pointer(r), unsafe.Sizeof(*r))
	return (*fixedCounters)(unsafe.Add(first, int(number&1)*copySize(s.cpus)))
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
		s.copy(r, r.valid).get(c, uint64(s.cpus))
	}
	return r
}

// Save writes c to its record. Counters for more CPUs than a record has room for are not kept.
func (s *Counters) Save(r *Record, c *ContainerCounters) {
	if r == nil || len(c.Clock.CPUs) > s.cpus || len(c.Clock.Used.PerCPU) > s.cpus {
		return
	}
	next := 1 - r.valid&1
	s.copy(r, next).set(c)
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

// fixedCounters is the beginning of a copy of the counters. cpus times account.CPUTime follow, and
// used times cgroup.CPUTime.
type fixedCounters struct {
	age        time.Duration
	debt       int64
	sampled    time.Duration
	lastPID    int64
	load       account.Load
	cpus, used uint64
	total      cgroup.CPUTime
}

// perCPU returns the memory that follows f, for n and m CPUs.
func (f *fixedCounters) perCPU(n, m uint64) (cpus []account.CPUTime, used []cgroup.CPUTime) {
	at := unsafe.Add(unsafe.Pointer(f), unsafe.Sizeof(*f))
	cpus = unsafe.Slice((*account.CPUTime)(at), n)
	at = unsafe.Add(at, uintptr(n)*unsafe.Sizeof(account.CPUTime{}))
	return cpus, unsafe.Slice((*cgroup.CPUTime)(at), m)
}

func (f *fixedCounters) set(c *ContainerCounters) {
	k := &c.Clock
	*f = fixedCounters{
		age: k.Age, debt: k.Debt, sampled: c.Sampled, lastPID: int64(c.LastPID), load: c.Load,
		cpus: uint64(len(k.CPUs)), used: uint64(len(k.Used.PerCPU)), total: k.Used.Total,
	}
	cpus, used := f.perCPU(f.cpus, f.used)
	copy(cpus, k.CPUs)
	copy(used, k.Used.PerCPU)
}

// get sets c to the counters, for at most so many CPUs.
func (f *fixedCounters) get(c *ContainerCounters, maxCPUs uint64) {
	cpus, used := f.perCPU(min(f.cpus, maxCPUs), min(f.used, maxCPUs))
	c.Sampled, c.LastPID, c.Load = f.sampled, int(f.lastPID), f.load
	c.Clock.Age, c.Clock.Debt, c.Clock.CPUs = f.age, f.debt, slices.Clone(cpus)
	c.Clock.Used = cgroup.CPUUsage{Total: f.total, PerCPU: slices.Clone(used)}
}
