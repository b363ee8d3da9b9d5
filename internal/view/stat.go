package view

import "palisade/internal/procfs"

// CPUTimes is how long a visible CPU has spent on what, in nanoseconds. It never falls.
type CPUTimes struct{ User, Nice, System, Idle uint64 }

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

// Stat is /proc/stat of a container that sees as many CPUs as cpus has. The line of all CPUs is the sum of the others as
// they are shown. Time spent on I/O, interrupts and guests is not known of a container and 0. "processes" is the last
// pid: pids are given one after the other, so that it counts the forks until they start anew.
func Stat(dst []byte, host *procfs.Stat, cpus []CPUTimes, tasks Tasks) []byte {
	for i := range host.Lines {
		l := &host.Lines[i]
		dst = append(dst, l.Text...)
		switch l.Field {
		case procfs.StatCPUs:
			dst = appendCPUs(dst, cpus, host.Columns)
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
func appendCPUs(dst []byte, cpus []CPUTimes, columns int) []byte {
	var sum CPUTimes
	for i := range cpus {
		t := cpus[i].ticks()
		sum.User += t.User
		sum.Nice += t.Nice
		sum.System += t.System
		sum.Idle += t.Idle
	}
	dst = append(dst, ' ')
	dst = appendTicks(dst, sum, columns)
	for i := range cpus {
		dst = append(dst, "cpu"...)
		dst = appendUint(dst, uint64(i))
		dst = appendTicks(dst, cpus[i].ticks(), columns)
	}
	return dst
}

func (t CPUTimes) ticks() CPUTimes {
	return CPUTimes{t.User / nanosPerTick, t.Nice / nanosPerTick, t.System / nanosPerTick, t.Idle / nanosPerTick}
}

func appendTicks(dst []byte, t CPUTimes, columns int) []byte {
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
