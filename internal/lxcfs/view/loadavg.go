package view

import (
	"time"

	"palisade/internal/linux/ktext"
)

// LoadOne is a load of 1 in the fixed point of Load.Avg, the kernel's FIXED_1.
const LoadOne = 1 << 11

// loadRounding is half a hundredth, which is added before truncation (loadavg_proc_show() in
// fs/proc/loadavg.c).
const loadRounding = LoadOne / 200

// Load is the load of a container.
type Load struct {
	// Avg holds the averages over 1, 5 and 15 minutes in units of 1/LoadOne.
	Avg   [3]uint64
	Tasks Tasks
}

// Loadavg appends /proc/loadavg.
func Loadavg(dst []byte, l Load) []byte {
	for _, avg := range l.Avg {
		avg = ktext.Add(avg, loadRounding)
		dst = appendHundredths(dst, avg/LoadOne*100+avg%LoadOne*100/LoadOne)
		dst = append(dst, ' ')
	}
	dst = appendUint(dst, uint64(max(l.Tasks.Running, 0)))
	dst = append(dst, '/')
	dst = appendUint(dst, uint64(max(l.Tasks.Total, 0)))
	dst = append(dst, ' ')
	dst = appendUint(dst, uint64(max(l.Tasks.LastPID, 0)))
	return append(dst, '\n')
}

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
