package view

import (
	"time"

	"palisade/internal/linux/procfs"
	"palisade/internal/lxcfs/account"
)

// Tasks holds the numbers of tasks of a container.
type Tasks struct {
	// Running tasks run or wait for a CPU, Blocked tasks wait for I/O.
	Running, Blocked int
	// Total is the number of threads.
	Total int
	// LastPID is the last pid that was allocated in the container's pid namespace.
	LastPID int
}

// nanosPerTick is 1/USER_HZ, the unit of /proc/stat.
const nanosPerTick = 1e9 / 100

// minStatColumns is the number of columns with values: user, nice, system and idle.
const minStatColumns = 4

// Stat appends /proc/stat of a container that sees the first visible CPUs of cpus. It saw the
// others before a limit was lowered. As in the kernel, the line "cpu" includes them, so that it
// never decreases. Times of I/O, interrupts and guests are unknown and 0. "processes" is the last
// pid, which is the number of forks until pids wrap around. "btime" is that of a time namespace with
// the offset boot of CLOCK_BOOTTIME.
func Stat(
	dst []byte, host *procfs.Stat, cpus []account.CPUTime, visible int, tasks Tasks,
	boot time.Duration,
) []byte {
	for i := range host.Lines {
		l := &host.Lines[i]
		dst = append(dst, l.Text...)
		switch l.Field {
		case procfs.StatCPUs:
			dst = appendCPUs(dst, cpus, visible, host.Columns)
		case procfs.StatProcesses:
			dst = appendStatNumber(dst, max(tasks.LastPID, tasks.Total))
		case procfs.StatRunning:
			dst = appendStatNumber(dst, tasks.Running)
		case procfs.StatBlocked:
			dst = appendStatNumber(dst, tasks.Blocked)
		case procfs.StatBootTime:
			dst = appendBootTime(append(dst, ' '), host.BootTime, boot)
		}
	}
	return dst
}

// appendCPUs appends the rest of the line "cpu", which is the sum of the lines as shown, and the
// lines of the visible CPUs.
func appendCPUs(dst []byte, cpus []account.CPUTime, visible, columns int) []byte {
	var sum account.CPUTime
	for i := range cpus {
		t := ticks(cpus[i])
		account.Add(&sum.CPUTime, t.CPUTime)
		sum.Idle += t.Idle
	}
	dst = append(dst, ' ')
	dst = appendTicks(dst, sum, columns)
	for i := range cpus[:min(visible, len(cpus))] {
		dst = append(dst, "cpu"...)
		dst = appendUint(dst, uint64(i))
		dst = appendTicks(dst, ticks(cpus[i]), columns)
	}
	return dst
}

func ticks(t account.CPUTime) account.CPUTime {
	t.User /= nanosPerTick
	t.Nice /= nanosPerTick
	t.System /= nanosPerTick
	t.Idle /= nanosPerTick
	return t
}

func appendTicks(dst []byte, t account.CPUTime, columns int) []byte {
	for _, n := range [minStatColumns]uint64{t.User, t.Nice, t.System, t.Idle} {
		dst = append(dst, ' ')
		dst = appendUint(dst, n)
	}
	for range columns - minStatColumns {
		dst = append(dst, " 0"...)
	}
	return append(dst, '\n')
}

func appendStatNumber(dst []byte, n int) []byte {
	dst = append(dst, ' ')
	dst = appendUint(dst, uint64(max(n, 0)))
	return append(dst, '\n')
}
