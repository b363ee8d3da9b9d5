package sys

import (
	"os"

	"golang.org/x/sys/unix"
)

// Sysinfo is what sysinfo(2) says of the machine's memory, in bytes. Unlike /proc/meminfo it costs no formatting and no
// parsing.
type Sysinfo struct {
	MemTotal            uint64
	SwapTotal, SwapFree uint64
}

// ReadSysinfo asks the kernel for the figures of this moment.
func ReadSysinfo() (Sysinfo, error) {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return Sysinfo{}, os.NewSyscallError("sysinfo", err)
	}
	unit := uint64(info.Unit)
	return Sysinfo{
		MemTotal:  uint64(info.Totalram) * unit,
		SwapTotal: uint64(info.Totalswap) * unit,
		SwapFree:  uint64(info.Freeswap) * unit,
	}, nil
}
