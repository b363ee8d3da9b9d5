package view

import (
	"palisade/internal/account"
	"palisade/internal/procfs"
)

// Tasks are the tasks of a container.
type Tasks struct {
	// Running tasks have a CPU or wait for one; Blocked ones wait for I/O.
	Running, Blocked int
	// Total is the number of threads.
	Total int
	// LastPID is the pid that was given last in the container's pid namespace.
	LastPID int
}

// nanosPerTick is the length of a tick of USER_HZ, the unit of /proc/stat.
const nanosPerTick = 1e9 / 100

// minStatColumns are user, nice, system and idle.
const minStatColumns = 4

// Stat is /proc/stat of a container that sees the first visible ones of cpus. The others are those that it saw before a
// limit was lowered: as in the kernel, the line of all CPUs counts them too, so that it never falls. It is the sum of the
// lines as they are shown. Time spent on I/O, interrupts and guests is not known of a container and 0. "processes" is the
// last pid: pids are given one after the other, so that it counts the forks until they start anew.
func Stat(dst []byte, host *procfs.Stat, cpus []account.CPUTime, visible int, tasks Tasks) []byte {
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
		}
	}
	return dst
}

// appendCPUs appends what follows the key of the line of all CPUs, and the lines of each.
func appendCPUs(dst []byte, cpus []account.CPUTime, visible, columns int) []byte {
	var sum account.CPUTime
	for i := range cpus {
		t := ticks(cpus[i])
		sum.User += t.User
		sum.Nice += t.Nice
		sum.System += t.System
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
	return account.CPUTime{
		User: t.User / nanosPerTick, Nice: t.Nice / nanosPerTick, System: t.System / nanosPerTick, Idle: t.Idle / nanosPerTick,
	}
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
