package view

import (
	"slices"

	"palisade/internal/cgroup"
	"palisade/internal/cpulist"
)

// CPUs is what a container sees of the host's CPUs. All files take it from here, so that they agree. The zero CPUs has
// none; it is good after Set.
type CPUs struct {
	// host has the host's numbers of the visible CPUs, rising.
	host  []int
	quota cgroup.Quota
	// allowed is the memory of Set.
	allowed cpulist.Set
}

// Set works out the visible CPUs from those that are online, those that the cpuset allows, and the CFS quota. Their
// number is that of the allowed CPUs that are online, but no more than the quota amounts to (rounded up) and at least
// one; they are the lowest of these. Where no allowed CPU is online the cpuset is not what the kernel goes by: then all
// that are online are allowed.
func (c *CPUs) Set(online, cpuset *cpulist.Set, quota cgroup.Quota) {
	c.quota = quota
	c.allowed.Copy(*cpuset)
	c.allowed.Intersect(*online)
	n := c.allowed.Len()
	if n == 0 {
		c.allowed.Copy(*online)
		n = c.allowed.Len()
	}
	if quota.IsSet() {
		n = min(n, quota.CPUs())
	}
	c.host = c.host[:0]
	for cpu := c.allowed.Next(0); cpu >= 0 && len(c.host) < n; cpu = c.allowed.Next(cpu + 1) {
		c.host = append(c.host, cpu)
	}
	if len(c.host) == 0 {
		c.host = append(c.host, 0)
	}
}

// Len is the number of visible CPUs, at least 1.
func (c *CPUs) Len() int { return len(c.host) }

// Host is the host's number of the visible CPU i, which must be below Len.
func (c *CPUs) Host(i int) int { return c.host[i] }

// OneToOne are the host's numbers of the visible CPUs where these are all that the container may run on; where it sees
// fewer, because of the quota, there is no CPU of the host behind each of them, and it is nil.
func (c *CPUs) OneToOne() []int {
	if c.allowed.Len() > len(c.host) {
		return nil
	}
	return c.host
}

// Quota is the CFS quota that Set was given; the container can use no more CPU time than it, however many CPUs it sees.
func (c *CPUs) Quota() cgroup.Quota { return c.quota }

// Index returns the number that the container sees for a CPU of the host, if it sees it.
func (c *CPUs) Index(host int) (int, bool) { return slices.BinarySearch(c.host, host) }

// CPUOnline is /sys/devices/system/cpu/online: the numbers of the visible CPUs.
func CPUOnline(dst []byte, c *CPUs) []byte {
	dst = append(dst, '0')
	if c.Len() > 1 {
		dst = append(dst, '-')
		dst = appendUint(dst, uint64(c.Len()-1))
	}
	return append(dst, '\n')
}

// CPUOffline is /sys/devices/system/cpu/offline: the host's possible CPUs without the visible ones
// (print_cpus_offline() in drivers/base/cpu.c).
func CPUOffline(dst []byte, possible *cpulist.Set, c *CPUs) []byte {
	return append(possible.AppendFrom(dst, c.Len()), '\n')
}
