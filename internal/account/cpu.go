// Package account keeps the counters of a container that the kernel does not: the CPU time it could have used and did
// not (the idle time of /proc/stat), and its load averages. It is arithmetic on figures that others read.
package account

import (
	"math/bits"
	"slices"
	"time"

	"palisade/internal/cgroup"
)

// maxDebt is how far, for each CPU, the time used may run ahead of the time allowed before it is forgotten. It does so
// for a part of a bandwidth period (cpu.cfs_period_us is a second at most), and the kernel accounts running tasks a tick late.
const maxDebt = int64(time.Second)

// restarted is by how much a counter of the kernel, in nanoseconds, must fall to be taken for a new one.
const restarted = uint64(time.Second)

// CPUTime is what a CPU, as the container sees it, spent since the container started, in nanoseconds.
type CPUTime struct {
	User, Nice, System, Idle uint64
}

func (t *CPUTime) add(u cgroup.CPUTime) {
	t.User += u.User
	t.Nice += u.Nice
	t.System += u.System
}

// Allowance is the CPU time that a container may use: that of N CPUs, or the quota if that is less.
type Allowance struct {
	// N is the number of CPUs that the container sees.
	N int
	// Host is the host's CPU behind each that the container sees, where there is exactly one; else it is empty, and
	// what is used is shared evenly.
	Host []int
	// Quota limits all CPUs together.
	Quota cgroup.Quota
}

// over is the CPU time allowed in an interval, in nanoseconds.
func (a Allowance) over(d time.Duration) uint64 {
	all := uint64(d) * uint64(a.N)
	if !a.Quota.IsSet() || a.Quota.Usec/uint64(a.N) >= a.Quota.Period {
		return all
	}
	return mulDiv(uint64(d), a.Quota.Usec, a.Quota.Period)
}

// CPUClock turns the CPU usage of a cgroup into the counters of /proc/stat, which never fall: not when limits change, not
// when the cgroup's own counters start anew. The zero CPUClock is that of a container which was never looked at. It is
// not safe for concurrent use. Its exported fields are its whole state, for the daemon that comes after this one.
type CPUClock struct {
	// CPUs are all that the container ever saw.
	CPUs []CPUTime
	// Age is the container's at the last Advance; Debt the time used beyond what was allowed until then, in nanoseconds.
	Age  time.Duration
	Debt int64
	// Used is the usage at the last Advance.
	Used cgroup.CPUUsage

	// Since the last Advance: what each CPU in view spent, and each of the host's.
	spent, grown []cgroup.CPUTime
}

// Advance brings the counters to the given age of the container, at which its usage was read. An age that is not beyond
// the last one changes nothing: another reader was faster.
func (c *CPUClock) Advance(age time.Duration, allowed Allowance, usage *cgroup.CPUUsage) {
	if age <= c.Age || allowed.N < 1 {
		return
	}
	for len(c.CPUs) < allowed.N {
		c.CPUs = append(c.CPUs, CPUTime{})
	}
	first := c.Age == 0
	used := c.spend(allowed, usage)
	balance := int64(allowed.over(age-c.Age)) - int64(used) - c.Debt
	c.Debt = 0
	if balance >= 0 {
		c.rest(uint64(balance), age-c.Age, allowed)
	} else if !first { // what happened before the first look is no debt: limits may have been others
		c.Debt = min(-balance, maxDebt*int64(allowed.N))
	}
	c.Age = age
}

// spend adds what was used since the last Advance to the CPUs in view, and returns it.
func (c *CPUClock) spend(allowed Allowance, usage *cgroup.CPUUsage) uint64 {
	rest := grow(&c.Used.Total, usage.Total)
	used := Sum(rest)
	for len(c.Used.PerCPU) < len(usage.PerCPU) {
		c.Used.PerCPU = append(c.Used.PerCPU, cgroup.CPUTime{})
	}
	c.grown = c.grown[:0]
	for host, now := range usage.PerCPU {
		c.grown = append(c.grown, grow(&c.Used.PerCPU[host], now))
	}
	c.spent = slices.Grow(c.spent[:0], allowed.N)[:allowed.N]
	clear(c.spent)
	for i, host := range allowed.Host {
		if i >= allowed.N || host >= len(c.grown) {
			break
		}
		by := c.grown[host]
		c.spent[i] = cgroup.CPUTime{
			User: min(by.User, rest.User), Nice: min(by.Nice, rest.Nice), System: min(by.System, rest.System),
		}
		rest = minus(rest, c.spent[i])
	}
	n := uint64(allowed.N) // the rest was used on CPUs that are not in view
	for i := range c.spent {
		share := cgroup.CPUTime{User: rest.User / n, Nice: rest.Nice / n, System: rest.System / n}
		if i == 0 {
			share.User += rest.User % n
			share.Nice += rest.Nice % n
			share.System += rest.System % n
		}
		c.spent[i].User += share.User
		c.spent[i].Nice += share.Nice
		c.spent[i].System += share.System
		c.CPUs[i].add(c.spent[i])
	}
	return used
}

// rest shares the idle time out among the CPUs in view, to each by the part of the interval it was not busy.
func (c *CPUClock) rest(idle uint64, interval time.Duration, allowed Allowance) {
	each := allowed.over(interval) / uint64(allowed.N)
	slack := func(i int) uint64 {
		busy := Sum(c.spent[i])
		return each - min(each, busy)
	}
	var all uint64
	for i := range c.spent {
		all += slack(i)
	}
	left := idle
	for i := range c.spent {
		share := idle / uint64(allowed.N)
		if all > 0 {
			share = mulDiv(idle, slack(i), all)
		}
		share = min(share, left)
		c.CPUs[i].Idle += share
		left -= share
	}
	c.CPUs[0].Idle += left // what the divisions left over
}

// grow brings a counter to what was read now and returns what it grew by. A field that fell a little, because its share
// of a whole is an estimate, stays; a counter that fell by more than restarted started anew.
func grow(counter *cgroup.CPUTime, now cgroup.CPUTime) cgroup.CPUTime {
	if Sum(now)+restarted < Sum(*counter) {
		*counter = cgroup.CPUTime{}
	}
	by := minus(now, *counter)
	counter.User += by.User
	counter.Nice += by.Nice
	counter.System += by.System
	return by
}

// Sum is all the time of t.
func Sum(t cgroup.CPUTime) uint64 { return t.User + t.Nice + t.System }

// minus is a-b in each field, 0 where that is below 0.
func minus(a, b cgroup.CPUTime) cgroup.CPUTime {
	return cgroup.CPUTime{
		User: a.User - min(a.User, b.User), Nice: a.Nice - min(a.Nice, b.Nice), System: a.System - min(a.System, b.System),
	}
}

// mulDiv is a*b/c without overflow on the way; the result saturates.
func mulDiv(a, b, c uint64) uint64 {
	high, low := bits.Mul64(a, b)
	if high >= c {
		return ^uint64(0)
	}
	q, _ := bits.Div64(high, low, c)
	return q
}
