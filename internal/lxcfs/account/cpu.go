// Package account computes counters that the kernel does not keep for a container: idle time, which
// is the CPU time that it could have used and did not, and load averages.
package account

import (
	"math"
	"math/bits"
	"slices"
	"time"

	"palisade/internal/linux/cgroup"
)

// maxDebt bounds CPUClock.Debt for each CPU, in nanoseconds. Used time runs ahead of the quota for
// a part of a bandwidth period (cpu.cfs_period_us is at most a second), and lags a tick behind for
// running tasks.
const maxDebt = int64(time.Second)

// minReset is the decrease of a counter of the kernel, in nanoseconds, that is taken for a reset.
const minReset = uint64(time.Second)

// CPUTime is the time of a CPU that the container sees, since the container started, in
// nanoseconds.
type CPUTime struct {
	cgroup.CPUTime
	Idle uint64
}

// Allowance is the CPU time that a container may use: that of N CPUs, or the quota if that is less.
type Allowance struct {
	// N is the number of CPUs that the container sees.
	N int
	// Host holds the host's number of each of these CPUs. If it is empty, used time is distributed
	// evenly.
	Host []int
	// Quota limits the sum of all CPUs.
	Quota cgroup.Quota
}

// limit returns the CPU time allowed in an interval, in nanoseconds.
func (a Allowance) limit(d time.Duration) uint64 {
	all := uint64(d) * uint64(a.N)
	if !a.Quota.IsSet() || a.Quota.Usec/uint64(a.N) >= a.Quota.Period {
		return all
	}
	return mulDiv(uint64(d), a.Quota.Usec, a.Quota.Period)
}

// CPUClock turns the CPU usage of a cgroup into the counters of /proc/stat, which never decrease,
// even if limits change or the cgroup's counters are reset. The zero value is ready for use. It is
// not safe for concurrent use. The exported fields are the whole state, which the next daemon
// restores.
type CPUClock struct {
	// CPUs are all CPUs that the container ever saw.
	CPUs []CPUTime
	// Age is the container's age at the last Advance. Debt is the time used in excess of the limit
	// until then, in nanoseconds.
	Age  time.Duration
	Debt int64
	// Used is the usage at the last Advance.
	Used cgroup.CPUUsage

	// busy and used are buffers for the times since the last Advance of the visible CPUs, and of
	// the host's CPUs.
	busy, used []cgroup.CPUTime
}

// Advance updates the counters with the usage that was read at the given age of the container. It
// does nothing if a later one was recorded by another reader.
func (c *CPUClock) Advance(age time.Duration, allowed Allowance, usage *cgroup.CPUUsage) {
	if age <= c.Age || allowed.N < 1 {
		return
	}
	for len(c.CPUs) < allowed.N {
		c.CPUs = append(c.CPUs, CPUTime{})
	}
	first := c.Age == 0
	used := c.addUsed(allowed, usage)
	balance := int64(allowed.limit(age-c.Age)) - int64(used) - c.Debt
	c.Debt = 0
	if balance >= 0 {
		c.addIdle(uint64(balance), age-c.Age, allowed)
	} else if !first { // limits may have been higher before the first call
		c.Debt = min(-balance, maxDebt*int64(allowed.N))
	}
	c.Age = age
}

// addUsed distributes the time used since the last Advance among the visible CPUs, and returns it.
func (c *CPUClock) addUsed(allowed Allowance, usage *cgroup.CPUUsage) uint64 {
	rest := advance(&c.Used.Total, usage.Total)
	used := rest.Sum()
	for len(c.Used.PerCPU) < len(usage.PerCPU) {
		c.Used.PerCPU = append(c.Used.PerCPU, cgroup.CPUTime{})
	}
	c.used = c.used[:0]
	for host, now := range usage.PerCPU {
		c.used = append(c.used, advance(&c.Used.PerCPU[host], now))
	}
	c.busy = slices.Grow(c.busy[:0], allowed.N)[:allowed.N]
	clear(c.busy)
	for i, host := range allowed.Host {
		if i >= allowed.N || host >= len(c.used) {
			break
		}
		u := c.used[host]
		c.busy[i] = cgroup.CPUTime{
			User: min(u.User, rest.User), Nice: min(u.Nice, rest.Nice),
			System: min(u.System, rest.System),
		}
		rest = sub(rest, c.busy[i])
	}
	n := uint64(allowed.N) // the rest was used on CPUs that are not visible
	for i := range c.busy {
		Add(&c.busy[i], cgroup.CPUTime{
			User: rest.User / n, Nice: rest.Nice / n, System: rest.System / n,
		})
		if i == 0 {
			Add(&c.busy[i], cgroup.CPUTime{
				User: rest.User % n, Nice: rest.Nice % n, System: rest.System % n,
			})
		}
		Add(&c.CPUs[i].CPUTime, c.busy[i])
	}
	return used
}

// addIdle distributes the idle time among the visible CPUs, in proportion to their unused time.
func (c *CPUClock) addIdle(idle uint64, interval time.Duration, allowed Allowance) {
	each := allowed.limit(interval) / uint64(allowed.N)
	slack := func(i int) uint64 { return each - min(each, c.busy[i].Sum()) }
	var all uint64
	for i := range c.busy {
		all += slack(i)
	}
	left := idle
	for i := range c.busy {
		share := idle / uint64(allowed.N)
		if all > 0 {
			share = mulDiv(idle, slack(i), all)
		}
		share = min(share, left)
		c.CPUs[i].Idle += share
		left -= share
	}
	c.CPUs[0].Idle += left // remainder of the divisions
}

// advance raises a counter to its current value, and returns the difference. The fields are
// estimated shares of an exact sum: one that decreased is left unchanged, at the cost of the others
// (as in cputime_adjust() of the kernel). A sum that decreased by more than minReset was reset.
func advance(counter *cgroup.CPUTime, now cgroup.CPUTime) cgroup.CPUTime {
	if now.Sum()+minReset < counter.Sum() {
		*counter = cgroup.CPUTime{}
	}
	rest := now.Sum() - min(now.Sum(), counter.Sum())
	by := sub(now, *counter)
	for _, field := range []*uint64{&by.User, &by.Nice, &by.System} {
		*field = min(*field, rest)
		rest -= *field
	}
	Add(counter, by)
	return by
}

// Add adds u to t.
func Add(t *cgroup.CPUTime, u cgroup.CPUTime) {
	t.User += u.User
	t.Nice += u.Nice
	t.System += u.System
}

// sub returns a-b in each field, saturated at 0.
func sub(a, b cgroup.CPUTime) cgroup.CPUTime {
	return cgroup.CPUTime{
		User: a.User - min(a.User, b.User), Nice: a.Nice - min(a.Nice, b.Nice),
		System: a.System - min(a.System, b.System),
	}
}

// mulDiv returns a*b/c with a 128-bit product, saturated.
func mulDiv(a, b, c uint64) uint64 {
	high, low := bits.Mul64(a, b)
	if high >= c {
		return ^uint64(0)
	}
	q, _ := bits.Div64(high, low, c)
	return q
}

var loadSpans = [3]time.Duration{time.Minute, 5 * time.Minute, 15 * time.Minute}

// Load holds the load averages of a container over 1, 5 and 15 minutes: exponentially damped
// averages of the number of tasks that run, wait for a CPU, or sleep uninterruptibly
// (kernel/sched/loadavg.c).
type Load [3]float64

// Sample records that n tasks were active since the previous sample.
func (l *Load) Sample(n int, since time.Duration) {
	for i, span := range loadSpans {
		decay := math.Exp(-since.Seconds() / span.Seconds())
		l[i] = l[i]*decay + float64(n)*(1-decay)
	}
}
