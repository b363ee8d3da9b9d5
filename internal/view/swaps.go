package view

import (
	"palisade/internal/cgroup"
	"palisade/internal/procfs"
	"palisade/internal/sys"
)

// SwapTotals is the swap that the container may use and the part of it that it uses, in bytes. Both are 0 where swap is
// not to be shown, the kernel does not account it for cgroups, or the host has none at this moment.
func SwapTotals(host sys.Sysinfo, m *cgroup.Memory, o MemOptions) (total, used uint64) {
	if !o.Swap || !m.Swap.Accounted {
		return 0, 0
	}
	total = min(m.Swap.Limit, host.SwapTotal)
	return total, min(m.Swap.Usage, total)
}

// Swaps is /proc/swaps: one device of the type "virtual" that stands for the container's share, if it has any. The
// columns are the kernel's.
func Swaps(dst []byte, host *procfs.Swaps, total sys.Sysinfo, m *cgroup.Memory, o MemOptions) []byte {
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

// appendSwapColumn appends a number and what separates it from the next; where columns are wide, a short number is
// followed by two tabs.
func appendSwapColumn(dst []byte, kB uint64, wide bool) []byte {
	dst = appendUint(dst, kB)
	if wide && kB < 10000000 {
		dst = append(dst, '\t')
	}
	return append(dst, '\t')
}
