package sys

import (
	"os"

	"golang.org/x/sys/unix"
)

// Sysinfo is the memory of the machine, in bytes (sysinfo(2)). Unlike /proc/meminfo, it is neither
// formatted nor parsed.
type Sysinfo struct {
	MemTotal            uint64
	SwapTotal, SwapFree uint64
}

// ReadSysinfo calls sysinfo(2).
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
