package view

import (
	"encoding/binary"
	"math"

	"palisade/internal/linux/cgroup"
	"palisade/internal/linux/procfs"
	"palisade/internal/linux/sys"
)

// Sysinfo holds the values of sysinfo(2). The memory is in bytes, as in /proc/meminfo.
type Sysinfo struct {
	// Uptime is in seconds.
	Uptime uint64
	// Loads are the averages over 1, 5 and 15 minutes in the fixed point of sysinfo(2).
	Loads [3]uint64
	// Procs is the number of threads.
	Procs uint64

	totalRAM, freeRAM, sharedRAM, bufferRAM, totalSwap, freeSwap uint64
}

// SetMemory sets the memory to the values of Meminfo.
func (s *Sysinfo) SetMemory(total sys.Sysinfo, m *cgroup.Memory, o MemOptions) {
	var v procfs.MemValues
	setMemory(&v, total, m, o)
	s.totalRAM, s.freeRAM = v[procfs.MemTotal]*1024, v[procfs.MemFree]*1024
	s.sharedRAM, s.bufferRAM = v[procfs.MemShmem]*1024, v[procfs.MemBuffers]*1024
	s.totalSwap, s.freeSwap = v[procfs.MemSwapTotal]*1024, v[procfs.MemSwapFree]*1024
}

// SetLoad sets the loads, in units of 1/LoadOne, and the number of threads to those of Loadavg.
func (s *Sysinfo) SetLoad(l Load) {
	for i, avg := range l.Avg {
		s.Loads[i] = avg << loadShift
	}
	s.Procs = uint64(max(l.Tasks.Total, 0))
}

const (
	// loadShift turns LoadOne into the fixed point of sysinfo(2), SI_LOAD_SHIFT.
	loadShift = 5
	// pageSize is the smallest page of Linux. Larger ones would only make mem_unit larger.
	pageSize = 4096
)

// Append64 appends struct sysinfo of 64-bit programs (do_sysinfo() in kernel/sys.c).
func (s *Sysinfo) Append64(dst []byte) []byte {
	order := binary.NativeEndian
	dst = order.AppendUint64(dst, s.Uptime)
	for _, load := range s.Loads {
		dst = order.AppendUint64(dst, load)
	}
	for _, n := range s.memory() {
		dst = order.AppendUint64(dst, n)
	}
	dst = order.AppendUint16(dst, uint16(s.Procs)) // truncated, as in the kernel
	dst = append(dst, make([]byte, 6+2*8)...)      // padding, totalhigh, freehigh
	dst = order.AppendUint32(dst, 1)               // mem_unit
	return append(dst, 0, 0, 0, 0)
}

// Append32 appends struct sysinfo of 32-bit programs (compat_sysinfo). If the memory has more than
// 32 bits, mem_unit is a page.
func (s *Sysinfo) Append32(dst []byte) []byte {
	order := binary.NativeEndian
	unit := uint64(1)
	if s.totalRAM > math.MaxUint32 || s.totalSwap > math.MaxUint32 {
		unit = pageSize
	}
	dst = order.AppendUint32(dst, uint32(s.Uptime))
	for _, load := range s.Loads {
		dst = order.AppendUint32(dst, uint32(load))
	}
	for _, n := range s.memory() {
		dst = order.AppendUint32(dst, uint32(n/unit))
	}
	dst = order.AppendUint16(dst, uint16(s.Procs))
	dst = append(dst, make([]byte, 2+2*4)...)
	dst = order.AppendUint32(dst, uint32(unit))
	return append(dst, make([]byte, 8)...)
}

// memory returns the memory in the order of struct sysinfo.
func (s *Sysinfo) memory() [6]uint64 {
	return [6]uint64{s.totalRAM, s.freeRAM, s.sharedRAM, s.bufferRAM, s.totalSwap, s.freeSwap}
}
