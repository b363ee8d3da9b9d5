package cgroup

import "math"

// NoLimit is the value of a limit that is not set: v2's "max", v1's PAGE_COUNTER_MAX.
const NoLimit = math.MaxUint64

// Memory holds the memory limits and statistics of a cgroup, in bytes.
type Memory struct {
	// Limit is the effective limit: the lowest of the cgroup and its ancestors, or NoLimit.
	Limit uint64
	// Usage is memory.current, or memory.usage_in_bytes on v1.
	Usage uint64
	Stat  MemoryStat
	Swap  Swap
	// Huge has an entry for each huge page size that the hugetlb controller accounts.
	Huge []HugePages
}

// MemoryStat holds memory.stat of a cgroup and its descendants in bytes, with the names of v2.
// Values that v1 does not account, such as most kernel memory, are 0.
type MemoryStat struct {
	Anon, File, Shmem                        uint64
	FileMapped, FileDirty, FileWriteback     uint64
	ActiveAnon, InactiveAnon                 uint64
	ActiveFile, InactiveFile                 uint64
	Unevictable, SwapCached                  uint64
	Slab, SlabReclaimable, SlabUnreclaimable uint64
	KernelStack, PageTables, SecPageTables   uint64
	Percpu                                   uint64
	AnonTHP, FileTHP, ShmemTHP               uint64
	Zswap, Zswapped                          uint64
	Events                                   Events
}

// Swap is the swap limit and usage of a cgroup, in bytes.
type Swap struct {
	// Accounted is false if the kernel does not account swap for the cgroup (swapaccount=0, no
	// memory controller).
	Accounted bool
	// Limit is the effective limit of swap alone, or NoLimit. On v1 it is the memory+swap limit
	// minus the memory limit, or Usage if memory.swappiness is 0.
	Limit uint64
	Usage uint64
}

// HugePages is the limit and usage of huge pages of one size, in bytes.
type HugePages struct {
	PageSize uint64
	// Limit is the effective limit, or NoLimit.
	Limit uint64
	Usage uint64
}

// Quota is a CFS bandwidth limit: Usec microseconds of CPU time in each Period of microseconds. The
// zero Quota is no limit.
type Quota struct {
	Usec, Period uint64
}

// IsSet reports whether there is a limit.
func (q Quota) IsSet() bool { return q.Usec != 0 && q.Period != 0 }

// CPUs returns the quota as a number of CPUs, rounded up, or 0 without a limit.
func (q Quota) CPUs() int {
	if !q.IsSet() {
		return 0
	}
	n := q.Usec / q.Period
	if q.Usec%q.Period != 0 {
		n++
	}
	return int(min(max(n, 1), math.MaxInt32))
}

// less reports whether q allows less CPU time than p.
func (q Quota) less(p Quota) bool {
	if !q.IsSet() || !p.IsSet() {
		return q.IsSet()
	}
	return float64(q.Usec)/float64(q.Period) < float64(p.Usec)/float64(p.Period)
}

// CPUTime is the CPU time of a cgroup in nanoseconds.
type CPUTime struct {
	User, Nice, System uint64
}

// Sum returns the sum of the fields.
func (t CPUTime) Sum() uint64 { return t.User + t.Nice + t.System }

// CPUUsage is the CPU time of a cgroup and its descendants since it was created.
type CPUUsage struct {
	// Total is the sum over all CPUs.
	Total CPUTime
	// PerCPU is indexed by the host's CPU number. It is empty on v2.
	PerCPU []CPUTime
}

// DeviceIO holds the I/O of a cgroup and its descendants on one block device.
type DeviceIO struct {
	Major, Minor uint32
	// Reads, Writes and Discards are numbers of requests.
	Reads, ReadBytes       uint64
	Writes, WriteBytes     uint64
	Discards, DiscardBytes uint64
	// Only the CFQ files of v1 (before Linux 5.0) have ReadMerges to InFlight, which are 0
	// otherwise.
	ReadMerges, WriteMerges uint64
	ReadNanos, WriteNanos   uint64
	InFlight                uint64
}
