package sys

import (
	"time"

	"golang.org/x/sys/unix"
)

// SinceBoot is the time since the machine started, suspension included (CLOCK_BOOTTIME): the clock of the start times
// in /proc/<pid>/stat.
func SinceBoot() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic("clock_gettime CLOCK_BOOTTIME: " + err.Error()) // it cannot fail since Linux 2.6.39
	}
	return time.Duration(ts.Nano())
}
