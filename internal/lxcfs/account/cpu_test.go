package account_test

import (
	"math"
	"reflect"
	"testing"
	"time"

	"palisade/internal/linux/cgroup"
	"palisade/internal/lxcfs/account"
)

const second = uint64(time.Second)

// step is a call of Advance.
type step struct {
	age     time.Duration
	allowed account.Allowance
	used    cgroup.CPUUsage
}

func total(user, system float64) cgroup.CPUUsage {
	return cgroup.CPUUsage{Total: cgroup.CPUTime{User: nanos(user), System: nanos(system)}}
}

func perCPU(user ...float64) cgroup.CPUUsage {
	var u cgroup.CPUUsage
	for _, seconds := range user {
		u.PerCPU = append(u.PerCPU, cgroup.CPUTime{User: nanos(seconds)})
		u.Total.User += nanos(seconds)
	}
	return u
}

func nanos(seconds float64) uint64 { return uint64(seconds * float64(second)) }

func cpus(n int) account.Allowance { return account.Allowance{N: n} }

func quota(n int, usec uint64) account.Allowance {
	return account.Allowance{N: n, Quota: cgroup.Quota{Usec: usec, Period: 100000}}
}

func on(host ...int) account.Allowance { return account.Allowance{N: len(host), Host: host} }

func seconds(user, system, idle float64) account.CPUTime {
	return account.CPUTime{
		CPUTime: cgroup.CPUTime{User: nanos(user), System: nanos(system)}, Idle: nanos(idle),
	}
}

func TestAdvance(t *testing.T) {
	const s = time.Second
	tests := []struct {
		name  string
		steps []step
		want  []account.CPUTime
	}{
		{"the first read is not all zeros", []step{{100 * s, cpus(2), total(30, 10)}},
			[]account.CPUTime{seconds(15, 5, 80), seconds(15, 5, 80)}},
		{"idle grows with time",
			[]step{{100 * s, cpus(1), total(30, 10)}, {110 * s, cpus(1), total(30, 10)}},
			[]account.CPUTime{seconds(30, 10, 70)}},
		{"a saturated container has no idle time whatever its quota",
			[]step{{10 * s, quota(2, 150000), total(15, 0)}, {20 * s, quota(2, 150000), total(30, 0)}},
			[]account.CPUTime{seconds(15, 0, 0), seconds(15, 0, 0)}},
		{"half of the quota used",
			[]step{{10 * s, quota(1, 50000), total(2.5, 0)}}, []account.CPUTime{seconds(2.5, 0, 2.5)}},
		{"quota above the CPUs has no effect",
			[]step{{10 * s, quota(1, 400000), total(1, 0)}}, []account.CPUTime{seconds(1, 0, 9)}},
		{"each CPU has its own time where the host's are known",
			[]step{{10 * s, on(1, 3), perCPU(0, 4, 0, 1)}},
			[]account.CPUTime{seconds(4, 0, 6), seconds(1, 0, 9)}},
		{"time on hidden CPUs is distributed and counted once",
			[]step{{10 * s, on(1, 3), perCPU(2, 4, 2, 0)}},
			[]account.CPUTime{seconds(6, 0, 4), seconds(2, 0, 8)}},
		{"one busy CPU of two with a quota of one and a half: the idle time is the other's",
			[]step{{10 * s, account.Allowance{
				N: 2, Host: []int{0, 1}, Quota: cgroup.Quota{Usec: 150000, Period: 100000},
			}, perCPU(10, 0)}},
			[]account.CPUTime{seconds(10, 0, 0), seconds(0, 0, 5)}},
		{"a burst is paid back", []step{
			{10 * s, quota(1, 50000), total(0, 0)}, // 5 s idle
			{10*s + 50*time.Millisecond, quota(1, 50000), total(0.05, 0)},
			{10*s + 100*time.Millisecond, quota(1, 50000), total(0.05, 0)},
		}, []account.CPUTime{seconds(0.05, 0, 5)}},
		{"usage before a limit was lowered does not stop the idle time",
			[]step{{100 * s, cpus(1), total(400, 0)}, {110 * s, cpus(1), total(400, 0)}},
			[]account.CPUTime{seconds(400, 0, 10)}},
		{"an older read changes nothing",
			[]step{{10 * s, cpus(1), total(5, 0)}, {9 * s, cpus(1), total(4, 0)}},
			[]account.CPUTime{seconds(5, 0, 5)}},
		{"counters that were reset add to the previous ones",
			[]step{{10 * s, cpus(1), total(5, 0)}, {20 * s, cpus(1), total(2, 0)}},
			[]account.CPUTime{seconds(7, 0, 13)}},
		{"an estimated share that decreases a little stays",
			[]step{{10 * s, cpus(1), total(5, 3)}, {20 * s, cpus(1), total(4.9, 4)}},
			[]account.CPUTime{seconds(5, 3.9, 11.1)}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var c account.CPUClock
			for _, st := range tt.steps {
				c.Advance(st.age, st.allowed, &st.used)
			}
			if !reflect.DeepEqual(c.CPUs, tt.want) {
				t.Errorf("got  %+v\nwant %+v", c.CPUs, tt.want)
			}
		})
	}
}

func TestCountersNeverDecrease(t *testing.T) {
	var c account.CPUClock
	allowed := []account.Allowance{
		cpus(4), on(0, 1), quota(1, 30000), cpus(2), quota(4, 350000), on(3),
	}
	usage := cgroup.CPUUsage{PerCPU: make([]cgroup.CPUTime, 4)}
	for i := range 2000 {
		if i%700 == 699 {
			usage = cgroup.CPUUsage{PerCPU: make([]cgroup.CPUTime, 4)}
		}
		by := second / 10 * uint64(i%13) / 4
		usage.PerCPU[i%4].User += by
		usage.Total.User += by
		before := append([]account.CPUTime(nil), c.CPUs...)
		age := time.Duration(i+1) * 100 * time.Millisecond
		c.Advance(age, allowed[i/100%len(allowed)], &usage)
		for j, now := range c.CPUs {
			if j < len(before) && decreased(before[j], now) {
				t.Fatalf("step %d: cpu%d decreased from %+v to %+v", i, j, before[j], now)
			}
		}
	}
}

func decreased(before, now account.CPUTime) bool {
	return now.User < before.User || now.Nice < before.Nice || now.System < before.System ||
		now.Idle < before.Idle
}

// TestAdvanceExtremes has extreme values, which must not panic.
func TestAdvanceExtremes(t *testing.T) {
	var c account.CPUClock
	huge := cgroup.CPUUsage{Total: cgroup.CPUTime{User: math.MaxUint64, System: math.MaxUint64}}
	most := account.Allowance{N: 1, Quota: cgroup.Quota{Usec: math.MaxUint64, Period: 1}}
	least := account.Allowance{N: 8192, Quota: cgroup.Quota{Usec: 1, Period: math.MaxUint64}}
	c.Advance(time.Second, most, &huge)
	c.Advance(math.MaxInt64, least, &cgroup.CPUUsage{})
	c.Advance(math.MaxInt64, account.Allowance{}, &huge)
}

func TestAdvanceDoesNotAllocate(t *testing.T) {
	var c account.CPUClock
	usage, age := perCPU(1, 2), 10*time.Second
	allowed := on(0, 1)
	allocs := testing.AllocsPerRun(100, func() {
		age += time.Millisecond
		usage.Total.User++
		c.Advance(age, allowed, &usage)
	})
	if allocs != 0 {
		t.Errorf("Advance allocates %v times", allocs)
	}
}

func TestLoad(t *testing.T) {
	tests := []struct {
		name     string
		interval time.Duration
		samples  int
		active   int
		want     [3]float64
	}{
		{"one task for a minute", 5 * time.Second, 12, 1, [3]float64{0.63, 0.18, 0.06}},
		{"the interval does not matter", 30 * time.Second, 2, 1, [3]float64{0.63, 0.18, 0.06}},
		{"four tasks for an hour", 5 * time.Second, 720, 4, [3]float64{4, 4, 3.93}},
		{"nothing", 5 * time.Second, 100, 0, [3]float64{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var l account.Load
			for range tt.samples {
				l.Sample(tt.active, tt.interval)
			}
			for i := range l {
				if math.Abs(l[i]-tt.want[i]) > 0.005 {
					t.Fatalf("got %v, want %v", l, tt.want)
				}
			}
		})
	}
}
