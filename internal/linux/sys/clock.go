package sys

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// SinceBoot returns the time since boot, including suspension (CLOCK_BOOTTIME): the clock of the
// start times in /proc/<pid>/stat.
func SinceBoot() time.Duration { return now(unix.CLOCK_BOOTTIME) }

// Monotonic returns the time since boot without suspension (CLOCK_MONOTONIC): the clock of
// systemd's timestamps.
func Monotonic() time.Duration { return now(unix.CLOCK_MONOTONIC) }

func now(clock int32) time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(clock, &ts); err != nil {
		panic("clock_gettime: " + err.Error()) // both clocks exist since Linux 2.6.39
	}
	return time.Duration(ts.Nano())
}

// Sysinfo is the memory of the machine, in bytes (sysinfo(2)). Unlike /proc/meminfo, it is neither
// formatted nor parsed.
type Sysinfo struct {
	MemTotal            uint64
	SwapTotal, SwapFree uint64
	// Loads are the load averages, in the fixed point of sysinfo(2), and Procs the number of threads.
	Loads [3]uint64
	Procs uint16
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
		Loads:     [3]uint64{uint64(info.Loads[0]), uint64(info.Loads[1]), uint64(info.Loads[2])},
		Procs:     info.Procs,
	}, nil
}
