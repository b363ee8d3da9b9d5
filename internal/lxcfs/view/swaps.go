package view

import (
	"palisade/internal/linux/cgroup"
	"palisade/internal/linux/procfs"
	"palisade/internal/linux/sys"
)

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
