package cgroup

import (
	"bytes"
	"errors"
	"fmt"
	"math/bits"

	"palisade/internal/linux/cpulist"
	"palisade/internal/linux/ktext"
)

const nanosPerMicro = 1000

// Quota returns the effective CFS bandwidth limit: the lowest of the cgroup and its ancestors.
func (g *Group) Quota(s *Scratch) (Quota, error) {
	chain := g.chain("cpu")
	if len(chain) == 0 {
		return Quota{}, fmt.Errorf("read CPU quota: %w", ErrNoController)
	}
	var lowest Quota
	err := each(chain, func(l *level) error {
		quota, err := l.quota(s)
		if err == nil && quota.less(lowest) {
			lowest = quota
		}
		return err
	})
	return lowest, wrap("read CPU quota", err)
}

func (l *level) quota(s *Scratch) (Quota, error) {
	if l.v2 {
		text, err := l.read(fileCPUMax, s)
		return parseCPUMax(text), err
	}
	text, err := l.read(fileQuota, s)
	if err != nil {
		return Quota{}, err
	}
	usec, ok := value(text)
	if !ok { // -1: no limit
		return Quota{}, nil
	}
	period, err := l.readValue(filePeriod, s)
	return Quota{usec, period}, err
}

// parseCPUMax parses cpu.max, such as "max 100000" or "150000 100000".
func parseCPUMax(text []byte) Quota {
	first, rest := ktext.Field(text)
	usec, ok1 := value(first)
	period, ok2 := value(rest)
	if !ok1 || !ok2 || usec == NoLimit {
		return Quota{}
	}
	return Quota{usec, period}
}

// CPUSet sets set to the CPUs that the cgroup may use. They are those of the closest ancestor with
// a cpuset if it has none.
func (g *Group) CPUSet(set *cpulist.Set, s *Scratch) error { return g.cpuset(fileCPUs, set, s) }

// MemoryNodes sets set to the NUMA nodes on which the cgroup may allocate memory. They are those of
// the closest ancestor with a cpuset if it has none.
func (g *Group) MemoryNodes(set *cpulist.Set, s *Scratch) error {
	return g.cpuset(fileMems, set, s)
}

func (g *Group) cpuset(f file, set *cpulist.Set, s *Scratch) error {
	chain := g.chain("cpuset")
	for i := range chain {
		text, err := chain[i].read(f, s)
		if errors.Is(err, errMissing) {
			continue
		} else if err != nil {
			return fmt.Errorf("read cpuset: %w", err)
		}
		if err := set.Parse(text); err != nil {
			return fmt.Errorf("read cpuset: %w", err)
		}
		if set.Len() > 0 {
			return nil
		}
	}
	return fmt.Errorf("read cpuset: %w", ErrNoController)
}

// CPUUsage sets u to the CPU time of the cgroup, and reuses its memory.
func (g *Group) CPUUsage(u *CPUUsage, s *Scratch) error {
	*u = CPUUsage{PerCPU: u.PerCPU[:0]}
	l, err := g.cpuacct()
	if err != nil {
		return err
	}
	read := usageV1
	if l.v2 {
		read = usageV2
	}
	return wrap("read CPU usage", read(l, u, s))
}

// CPUTotal returns the CPU time of the cgroup, in nanoseconds. On v1 it reads one file less than
// CPUUsage.
func (g *Group) CPUTotal(s *Scratch) (uint64, error) {
	l, err := g.cpuacct()
	if err != nil {
		return 0, err
	}
	if !l.v2 {
		total, err := l.readValue(fileUsage, s)
		return total, wrap("read CPU usage", err)
	}
	var u CPUUsage
	err = wrap("read CPU usage", usageV2(l, &u, s))
	return u.Total.Sum(), err
}

// cpuacct returns the level that has the CPU time.
func (g *Group) cpuacct() (*level, error) {
	chain := g.chain("cpuacct")
	if len(chain) == 0 {
		chain = g.unified()
	}
	if len(chain) == 0 {
		return nil, fmt.Errorf("read CPU usage: %w", ErrNoController)
	}
	return &chain[0], nil
}

// usageV2 reads cpu.stat, which does not need the cpu controller.
func usageV2(l *level, u *CPUUsage, s *Scratch) error {
	text, err := l.read(fileCPUStat, s)
	if err != nil {
		return err
	}
	for key, usec := range keyNumbers(text) {
		switch string(key) {
		case "user_usec":
			u.Total.User = ktext.Mul(usec, nanosPerMicro)
		case "system_usec":
			u.Total.System = ktext.Mul(usec, nanosPerMicro)
		case "nice_usec": // since Linux 6.13, part of user_usec (__cgroup_account_cputime_field())
			u.Total.Nice = ktext.Mul(usec, nanosPerMicro)
		}
	}
	u.Total.Nice = min(u.Total.Nice, u.Total.User)
	u.Total.User -= u.Total.Nice
	return nil
}

// usageV1 reads cpuacct.usage_percpu. It splits the time of each CPU in the proportion of user to
// system time in cpuacct.usage_all, which since Linux 5.17 counts timer ticks.
func usageV1(l *level, u *CPUUsage, s *Scratch) error {
	text, err := l.read(fileUsageAll, s)
	if err != nil {
		return err
	}
	parseUsageAll(text, u)
	if text, err = l.read(fileUsagePerCPU, s); err == nil {
		parseUsagePerCPU(text, u)
	}
	return err
}

// parseUsageAll sets the times of u.PerCPU from cpuacct.usage_all: a header, and lines "cpu user
// system" in nanoseconds.
func parseUsageAll(text []byte, u *CPUUsage) {
	for line := range bytes.Lines(text) {
		field, line := ktext.Field(line)
		cpu, ok1 := value(field)
		field, line = ktext.Field(line)
		user, ok2 := value(field)
		system, ok3 := value(line)
		if ok1 && ok2 && ok3 && cpu <= cpulist.MaxCPU {
			*u.cpu(int(cpu)) = CPUTime{User: user, System: system}
		}
	}
}

// parseUsagePerCPU parses cpuacct.usage_percpu, a line with the times of all CPUs. It splits each
// in the proportion of user to system time of that CPU in u.
func parseUsagePerCPU(text []byte, u *CPUUsage) {
	for i := 0; i <= cpulist.MaxCPU; i++ {
		var field []byte
		field, text = ktext.Field(text)
		nanos, ok := value(field)
		if !ok {
			return
		}
		cpu := u.cpu(i)
		cpu.scale(nanos)
		u.Total.User = ktext.Add(u.Total.User, cpu.User)
		u.Total.System = ktext.Add(u.Total.System, cpu.System)
	}
}

// scale makes the sum of user and system time nanos, and keeps their proportion. A sum of zero
// becomes user time.
func (t *CPUTime) scale(nanos uint64) {
	user := nanos
	if sum := ktext.Add(t.User, t.System); sum > 0 {
		high, low := bits.Mul64(nanos, t.User)
		user, _ = bits.Div64(high, low, sum) // no overflow, since t.User <= sum
	}
	t.User, t.System = user, nanos-user
}

// cpu returns the time of a CPU, which it adds if necessary.
func (u *CPUUsage) cpu(n int) *CPUTime {
	for len(u.PerCPU) <= n {
		u.PerCPU = append(u.PerCPU, CPUTime{})
	}
	return &u.PerCPU[n]
}
