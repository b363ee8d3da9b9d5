package cgroup

import (
	"bytes"
	"errors"
	"fmt"
	"math/bits"

	"palisade/internal/linux/cpulist"
	"palisade/internal/linux/ktext"
)

const (
	nanosPerMicro = 1000
	// nanosPerTick is 1/USER_HZ, the unit of cpuacct.stat.
	nanosPerTick = 1e9 / 100
)

// Quota returns the effective CFS bandwidth limit: the lowest of the cgroup and its ancestors.
func (g *Group) Quota(s *Scratch) (Quota, error) {
	chain := g.chain(ctrlCPU)
	if len(chain) == 0 {
		return Quota{}, fmt.Errorf("read CPU quota: %w", ErrNoController)
	}
	var lowest Quota
	for i := range chain {
		quota, err := chain[i].quota(s)
		if errors.Is(err, errMissing) {
			continue
		} else if err != nil {
			return Quota{}, fmt.Errorf("read CPU quota: %w", err)
		}
		if quota.less(lowest) {
			lowest = quota
		}
	}
	return lowest, nil
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
func (g *Group) CPUSet(set *cpulist.Set, s *Scratch) error {
	chain := g.chain(ctrlCPUSet)
	for i := range chain {
		text, err := chain[i].read(fileCPUs, s)
		if errors.Is(err, errMissing) {
			text, err = chain[i].read(fileCPUsOld, s) // v1 before Linux 3.17
		}
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
	chain := g.chain(ctrlCPUAcct)
	if len(chain) == 0 {
		chain = g.unified()
	}
	if len(chain) == 0 {
		return fmt.Errorf("read CPU usage: %w", ErrNoController)
	}
	read := usageV1
	if chain[0].v2 {
		read = usageV2
	}
	return wrap("read CPU usage", read(&chain[0], u, s))
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

// usageV1 reads cpuacct.usage_all (Linux 4.7), or cpuacct.usage_percpu, whose times it splits into
// user and system time in the proportion of cpuacct.stat.
func usageV1(l *level, u *CPUUsage, s *Scratch) error {
	text, err := l.read(fileUsageAll, s)
	if err == nil {
		parseUsageAll(text, u)
		return nil
	} else if !errors.Is(err, errMissing) {
		return err
	}
	if text, err = l.read(fileAcctStat, s); err != nil {
		return err
	}
	user, system := parseAcctStat(text)
	if text, err = l.read(fileUsagePerCPU, s); err != nil {
		return err
	}
	parseUsagePerCPU(text, user, system, u)
	return nil
}

// parseUsageAll parses cpuacct.usage_all: a header, and lines "cpu user system" in nanoseconds.
func parseUsageAll(text []byte, u *CPUUsage) {
	for line := range bytes.Lines(text) {
		field, line := ktext.Field(line)
		cpu, ok1 := value(field)
		field, line = ktext.Field(line)
		user, ok2 := value(field)
		system, ok3 := value(line)
		if ok1 && ok2 && ok3 && cpu <= cpulist.MaxCPU {
			u.addCPU(int(cpu), CPUTime{User: user, System: system})
		}
	}
}

func parseAcctStat(text []byte) (user, system uint64) {
	for key, ticks := range keyNumbers(text) {
		switch string(key) {
		case "user":
			user = ktext.Mul(ticks, nanosPerTick)
		case "system":
			system = ktext.Mul(ticks, nanosPerTick)
		}
	}
	return user, system
}

// parseUsagePerCPU parses cpuacct.usage_percpu, a line with the times of all CPUs, and splits each
// time in the proportion of user to system.
func parseUsagePerCPU(text []byte, user, system uint64, u *CPUUsage) {
	for cpu := 0; cpu <= cpulist.MaxCPU; cpu++ {
		var field []byte
		field, text = ktext.Field(text)
		nanos, ok := value(field)
		if !ok {
			return
		}
		all := user + system
		if all == 0 || all < user {
			u.addCPU(cpu, CPUTime{User: nanos})
			continue
		}
		high, low := bits.Mul64(nanos, user)
		share, _ := bits.Div64(high, low, all) // no overflow, since user <= all
		u.addCPU(cpu, CPUTime{User: share, System: nanos - share})
	}
}

func (u *CPUUsage) addCPU(cpu int, t CPUTime) {
	for len(u.PerCPU) <= cpu {
		u.PerCPU = append(u.PerCPU, CPUTime{})
	}
	u.PerCPU[cpu] = t
	u.Total.User = ktext.Add(u.Total.User, t.User)
	u.Total.System = ktext.Add(u.Total.System, t.System)
}
