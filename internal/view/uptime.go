package view

import "time"

// nanosPerHundredth is the precision of /proc/uptime.
const nanosPerHundredth = 1e9 / 100

// Uptime is /proc/uptime: the age of the container's init, and the time that its visible CPUs have been idle since,
// summed up.
func Uptime(dst []byte, age time.Duration, idleNanos uint64) []byte {
	dst = appendHundredths(dst, uint64(max(age, 0))/nanosPerHundredth)
	dst = append(dst, ' ')
	dst = appendHundredths(dst, idleNanos/nanosPerHundredth)
	return append(dst, '\n')
}
