package sys

import (
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
