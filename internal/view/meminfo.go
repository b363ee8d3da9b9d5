package view

import (
	"palisade/internal/cgroup"
	"palisade/internal/procfs"
	"palisade/internal/sys"
)

// MemOptions says how memory is shown.
type MemOptions struct {
	// Swap shows the container's share of the swap. Without it (the option -u) containers have no swap at all: the
	// host's figures say nothing of what a container may use.
	Swap bool
	// Zswap shows the lines Zswap and Zswapped, where the host has them. Without it containers have
	// neither, as on a kernel without zswap.
	Zswap bool
}

// Meminfo is /proc/meminfo of a container with the memory m. Figures that cgroups do not have stay the host's.
func Meminfo(dst []byte, host *procfs.Meminfo, total sys.Sysinfo, m *cgroup.Memory, o MemOptions) []byte {
	v := host.Values
	setMemory(&v, total, m, o)
	setHugePages(&v, m.Huge)
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

// setMemory sets the values that memory.stat and its kin tell.
func setMemory(v *procfs.MemValues, host sys.Sysinfo, m *cgroup.Memory, o MemOptions) {
	s := &m.Stat
	total := memTotal(host, m)
	free := minus(total, m.Usage)
	swapTotal, swapUsed := SwapTotals(host, m, o)

	v[procfs.MemTotal] = kB(total)
	v[procfs.MemFree] = kB(free)
	v[procfs.MemAvailable] = kB(min(total, plus(free, plus(plus(s.ActiveFile, s.InactiveFile), s.SlabReclaimable))))
	v[procfs.MemBuffers] = 0
	v[procfs.MemCached] = kB(s.File)
	v[procfs.MemSwapCached] = kB(s.SwapCached)
	v[procfs.MemActive] = kB(plus(s.ActiveAnon, s.ActiveFile))
	v[procfs.MemInactive] = kB(plus(s.InactiveAnon, s.InactiveFile))
	v[procfs.MemActiveAnon] = kB(s.ActiveAnon)
	v[procfs.MemInactiveAnon] = kB(s.InactiveAnon)
	v[procfs.MemActiveFile] = kB(s.ActiveFile)
	v[procfs.MemInactiveFile] = kB(s.InactiveFile)
	v[procfs.MemUnevictable] = kB(s.Unevictable)
	v[procfs.MemMlocked] = 0
	v[procfs.MemSwapTotal] = kB(swapTotal)
	v[procfs.MemSwapFree] = kB(swapTotal - swapUsed)
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
	v[procfs.MemCommitLimit] = kB(plus(total, swapTotal))
	v[procfs.MemCommittedAS] = kB(plus(plus(s.Anon, s.Shmem), swapUsed))
	v[procfs.MemPercpu] = kB(s.Percpu)
	v[procfs.MemAnonHugePages] = kB(s.AnonTHP)
	v[procfs.MemShmemHugePages] = kB(s.ShmemTHP)
	v[procfs.MemFileHugePages] = kB(s.FileTHP)
}

// memTotal is the memory that the container may use, in bytes. A limit of 0, or above what the host has, is none.
func memTotal(host sys.Sysinfo, m *cgroup.Memory) uint64 {
	if m.Limit == 0 {
		return host.MemTotal
	}
	return min(m.Limit, host.MemTotal)
}

func kB(bytes uint64) uint64 { return bytes / 1024 }

// setHugePages sets the values of huge pages; those of HugePages_* are of the host's default size. Where the hugetlb
// controller sets no limit, or there is none, the container draws from the host's pool and is shown that.
//
// Under a limit, free pages are those that the limit leaves, as far as the pool has them for whoever comes: pages that
// other processes of the host have reserved are not free, and so none of what is shown as free is reserved.
func setHugePages(v *procfs.MemValues, huge []cgroup.HugePages) {
	sizeKB := v[procfs.MemHugepagesize]
	if sizeKB == 0 || len(huge) == 0 {
		return
	}
	pool := v[procfs.MemHugePagesTotal]
	poolFree := minus(v[procfs.MemHugePagesFree], v[procfs.MemHugePagesRsvd])
	// The pools of other page sizes are known by their sum alone.
	othersKB := minus(v[procfs.MemHugetlb], pool*sizeKB)
	var allowedKB uint64
	known := false
	for i := range huge {
		h := &huge[i]
		switch {
		case h.PageSize/1024 != sizeKB:
			known = true
			allowedKB = plus(allowedKB, kB(h.Limit))
		case h.Limit != cgroup.NoLimit:
			total := min(h.Limit/h.PageSize, pool)
			v[procfs.MemHugePagesTotal] = total
			v[procfs.MemHugePagesFree] = min(minus(total, h.Usage/h.PageSize), poolFree)
			v[procfs.MemHugePagesRsvd] = 0
			v[procfs.MemHugePagesSurp] = 0
		}
	}
	if known {
		othersKB = min(othersKB, allowedKB)
	}
	v[procfs.MemHugetlb] = plus(v[procfs.MemHugePagesTotal]*sizeKB, othersKB)
}
