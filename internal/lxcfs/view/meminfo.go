package view

import (
	"palisade/internal/linux/cgroup"
	"palisade/internal/linux/ktext"
	"palisade/internal/linux/procfs"
	"palisade/internal/linux/sys"
)

// MemOptions are the options of Meminfo and Swaps.
type MemOptions struct {
	// Swap shows the container's swap. Without it (option -u) containers have no swap.
	Swap bool
	// Zswap shows the lines Zswap and Zswapped if the host has them.
	Zswap bool
}

// MemValues returns the values of /proc/meminfo in a container with the memory m. Values that
// cgroups do not have are the host's.
func MemValues(
	host *procfs.Meminfo, total sys.Sysinfo, m *cgroup.Memory, o MemOptions,
) procfs.MemValues {
	v := host.Values
	setMemory(&v, total, m, o)
	setHugePages(&v, m.Huge)
	return v
}

// Meminfo appends /proc/meminfo, or the same file of a NUMA node, with the values.
func Meminfo(
	dst []byte, host *procfs.Meminfo, v *procfs.MemValues, o MemOptions,
) []byte {
	for i := range host.Lines {
		l := &host.Lines[i]
		if !o.Zswap && (l.Field == procfs.MemZswap || l.Field == procfs.MemZswapped) {
			continue
		}
		dst = append(dst, l.Head...)
		if l.Field != procfs.MemOther {
			dst = appendPadded(dst, v[l.Field], l.Width)
			dst = append(dst, l.Tail...)
		}
	}
	return dst
}

// setMemory sets the values of all fields but those of huge pages.
func setMemory(v *procfs.MemValues, host sys.Sysinfo, m *cgroup.Memory, o MemOptions) {
	s := &m.Stat
	total := host.MemTotal
	if m.Limit != 0 { // 0 is no limit
		total = min(total, m.Limit)
	}
	free := ktext.Sub(total, m.Usage)
	swapTotal, swapUsed := SwapTotals(host, m, o)
	available := ktext.Add(s.ActiveFile, s.InactiveFile)
	available = ktext.Add(free, ktext.Add(available, s.SlabReclaimable))

	v[procfs.MemTotal] = kB(total)
	v[procfs.MemFree] = kB(free)
	v[procfs.MemUsed] = ktext.Sub(kB(total), kB(free))
	v[procfs.MemAvailable] = kB(min(total, available))
	v[procfs.MemBuffers] = 0
	v[procfs.MemSwapTotal] = kB(swapTotal)
	v[procfs.MemSwapFree] = kB(swapTotal - swapUsed)
	v[procfs.MemCommitLimit] = kB(ktext.Add(total, swapTotal))
	v[procfs.MemCommittedAS] = kB(ktext.Add(ktext.Add(s.Anon, s.Shmem), swapUsed))
	setStat(v, s)
}

// setStat sets the values that are in memory.stat.
func setStat(v *procfs.MemValues, s *cgroup.MemoryStat) {
	v[procfs.MemCached] = kB(s.File)
	v[procfs.MemFilePages] = kB(ktext.Add(s.File, s.SwapCached))
	v[procfs.MemSwapCached] = kB(s.SwapCached)
	v[procfs.MemActive] = kB(ktext.Add(s.ActiveAnon, s.ActiveFile))
	v[procfs.MemInactive] = kB(ktext.Add(s.InactiveAnon, s.InactiveFile))
	v[procfs.MemActiveAnon] = kB(s.ActiveAnon)
	v[procfs.MemInactiveAnon] = kB(s.InactiveAnon)
	v[procfs.MemActiveFile] = kB(s.ActiveFile)
	v[procfs.MemInactiveFile] = kB(s.InactiveFile)
	v[procfs.MemUnevictable] = kB(s.Unevictable)
	v[procfs.MemMlocked] = 0
	v[procfs.MemZswap] = kB(s.Zswap)
	v[procfs.MemZswapped] = kB(s.Zswapped)
	v[procfs.MemDirty] = kB(s.FileDirty)
	v[procfs.MemWriteback] = kB(s.FileWriteback)
	v[procfs.MemAnonPages] = kB(s.Anon)
	v[procfs.MemMapped] = kB(s.FileMapped)
	v[procfs.MemShmem] = kB(s.Shmem)
	v[procfs.MemKReclaimable] = kB(s.SlabReclaimable)
	v[procfs.MemSlab] = kB(s.Slab)
	v[procfs.MemSReclaimable] = kB(s.SlabReclaimable)
	v[procfs.MemSUnreclaim] = kB(s.SlabUnreclaimable)
	v[procfs.MemKernelStack] = kB(s.KernelStack)
	v[procfs.MemPageTables] = kB(s.PageTables)
	v[procfs.MemSecPageTables] = kB(s.SecPageTables)
	v[procfs.MemPercpu] = kB(s.Percpu)
	v[procfs.MemAnonHugePages] = kB(s.AnonTHP)
	v[procfs.MemShmemHugePages] = kB(s.ShmemTHP)
	v[procfs.MemFileHugePages] = kB(s.FileTHP)
}

func kB(bytes uint64) uint64 { return bytes / 1024 }

// setHugePages sets the values of huge pages, where HugePages_* are for the host's default size.
// Without a hugetlb limit they are those of the host's pool, which the container uses.
//
// With a limit, free pages are those that the limit leaves, up to the free pages of the pool that
// are not reserved. None of them is reserved then.
func setHugePages(v *procfs.MemValues, huge []cgroup.HugePages) {
	sizeKB := v[procfs.MemHugepagesize]
	if sizeKB == 0 || len(huge) == 0 {
		return
	}
	pool := v[procfs.MemHugePagesTotal]
	poolFree := ktext.Sub(v[procfs.MemHugePagesFree], v[procfs.MemHugePagesRsvd])
	// Only the sum of the pools of other page sizes is known.
	othersKB := ktext.Sub(v[procfs.MemHugetlb], pool*sizeKB)
	var allowedKB uint64
	hasOthers := false
	for i := range huge {
		h := &huge[i]
		switch {
		case h.PageSize/1024 != sizeKB:
			hasOthers = true
			allowedKB = ktext.Add(allowedKB, kB(h.Limit))
		case h.Limit != cgroup.NoLimit:
			total := min(h.Limit/h.PageSize, pool)
			v[procfs.MemHugePagesTotal] = total
			v[procfs.MemHugePagesFree] = min(ktext.Sub(total, h.Usage/h.PageSize), poolFree)
			v[procfs.MemHugePagesRsvd] = 0
			v[procfs.MemHugePagesSurp] = 0
		}
	}
	if hasOthers {
		othersKB = min(othersKB, allowedKB)
	}
	v[procfs.MemHugetlb] = ktext.Add(v[procfs.MemHugePagesTotal]*sizeKB, othersKB)
}

// SwapTotals returns the swap that the container may use, and the part that it uses, in bytes. Both
// are 0 if swap is not shown or not accounted, or if the host currently has none.
func SwapTotals(host sys.Sysinfo, m *cgroup.Memory, o MemOptions) (total, used uint64) {
	if !o.Swap || !m.Swap.Accounted {
		return 0, 0
	}
	total = min(m.Swap.Limit, host.SwapTotal)
	return total, min(m.Swap.Usage, total)
}

// Swaps appends /proc/swaps: one swap area of type "virtual" for all swap of the container, if any.
// The columns are the kernel's.
func Swaps(
	dst []byte, host *procfs.Swaps, total sys.Sysinfo, m *cgroup.Memory, o MemOptions,
) []byte {
	dst = append(dst, host.Header...)
	size, used := SwapTotals(total, m, o)
	if size == 0 {
		return dst
	}
	dst = append(dst, "none                                    virtual\t\t"...)
	dst = appendSwapColumn(dst, kB(size), host.Wide)
	dst = appendSwapColumn(dst, kB(used), host.Wide)
	return append(dst, "0\n"...)
}

// appendSwapColumn appends a number and a tab, or two tabs after a short number in a wide column
// (swap_show() in mm/swapfile.c).
func appendSwapColumn(dst []byte, kB uint64, wide bool) []byte {
	dst = appendUint(dst, kB)
	if wide && kB < 10000000 {
		dst = append(dst, '\t')
	}
	return append(dst, '\t')
}

// slabinfoHeader is the header without caches (print_slabinfo_header() in mm/slab_common.c).
const slabinfoHeader = "slabinfo - version: 2.1\n" +
	"# name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab>" +
	" : tunables <limit> <batchcount> <sharedfactor>" +
	" : slabdata <active_slabs> <num_slabs> <sharedavail>\n"

// Slabinfo appends /proc/slabinfo: the container's memory.kmem.slabinfo, or only a header if that
// is empty.
func Slabinfo(dst, kmemSlabinfo []byte) []byte {
	if len(kmemSlabinfo) == 0 {
		return append(dst, slabinfoHeader...)
	}
	return append(dst, kmemSlabinfo...)
}
