package view

import "time"

// nanosPerHundredth is the precision of /proc/uptime.
const nanosPerHundredth = 1e9 / 100

// Uptime appends /proc/uptime: the age of the container's init, and the sum of the idle times of
// its visible CPUs since.
func Uptime(dst []byte, age time.Duration, idleNanos uint64) []byte {
	dst = appendHundredths(dst, uint64(max(age, 0))/nanosPerHundredth)
	dst = append(dst, ' ')
	dst = appendHundredths(dst, idleNanos/nanosPerHundredth)
	return append(dst, '\n')
}
