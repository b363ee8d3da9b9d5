package cgroup

import "math"

// NoLimit stands for a limit that is not set: v2's "max", v1's PAGE_COUNTER_MAX and anything as absurd.
const NoLimit = math.MaxUint64

// Memory is what a cgroup says of its memory. All figures are bytes.
type Memory struct {
	// Limit is the effective limit: the lowest of the cgroup's and of all its ancestors', NoLimit where none is set.
	Limit uint64
	// Usage is memory.current, or memory.usage_in_bytes.
	Usage uint64
	// Stat is memory.stat, of the cgroup and all below it.
	Stat MemoryStat
	// Swap is the share of swap.
	Swap Swap
	// Huge has an entry for each huge page size that the hugetlb controller accounts; empty without that controller.
	Huge []HugePages
}

// MemoryStat are the figures of memory.stat under v2's names, in bytes, of the cgroup and its descendants. What the
// hierarchy does not account (most kernel memory on v1) is 0.
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
}

// Swap is the share of swap that a cgroup may use and uses, in bytes.
type Swap struct {
	// Accounted is false where the kernel does not account swap for cgroups (swapaccount=0, no memory controller):
	// then the container is shown none at all.
	Accounted bool
	// Limit is the effective limit of swap alone, NoLimit where none is set. v1: memory+swap limit less the memory
	// limit, and where memory.swappiness is 0, what is used.
	Limit uint64
	// Usage is the swap in use.
	Usage uint64
}

// HugePages is what the hugetlb controller says of one page size; all figures are bytes.
type HugePages struct {
	PageSize uint64
	// Limit is the effective limit, NoLimit where none is set.
	Limit uint64
	Usage uint64
}

// Quota is a CFS bandwidth limit: Usec microseconds of CPU time in each Period. The zero Quota is no limit.
type Quota struct {
	Usec, Period uint64
}

// IsSet tells whether there is a limit.
func (q Quota) IsSet() bool { return q.Usec != 0 && q.Period != 0 }

// CPUs is the number of CPUs that the quota amounts to, rounded up, at least 1; 0 where there is no limit.
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

// less tells whether q allows less CPU time than p; an unset quota allows most.
func (q Quota) less(p Quota) bool {
	if !q.IsSet() || !p.IsSet() {
		return q.IsSet()
	}
	return float64(q.Usec)/float64(q.Period) < float64(p.Usec)/float64(p.Period)
}

// CPUTime is time that tasks of a cgroup spent on a CPU, in nanoseconds.
type CPUTime struct {
	User, Nice, System uint64
}

// CPUUsage is the CPU time of a cgroup and its descendants since it was made.
type CPUUsage struct {
	// Total is the sum over all CPUs.
	Total CPUTime
	// PerCPU is indexed by the host's CPU number; empty on v2, which does not tell. Its sum is Total.
	PerCPU []CPUTime
}

// DeviceIO is what the tasks of a cgroup and its descendants did on one block device.
type DeviceIO struct {
	Major, Minor uint32
	// Reads, Writes and Discards count requests; the Bytes what they moved.
	Reads, ReadBytes       uint64
	Writes, WriteBytes     uint64
	Discards, DiscardBytes uint64
	// ReadMerges to InFlight are known to the CFQ files of v1 alone (Linux before 5.0), else 0. Times are in nanoseconds.
	ReadMerges, WriteMerges uint64
	ReadNanos, WriteNanos   uint64
	InFlight                uint64
}
