package view

import (
	"slices"

	"palisade/internal/linux/cgroup"
	"palisade/internal/linux/cpulist"
)

// CPUs holds the CPUs that a container sees, in all files. It must be initialized by Set.
type CPUs struct {
	// host holds the host's numbers of the visible CPUs in ascending order.
	host  []int
	quota cgroup.Quota
	// allowed is the set of online CPUs in the cpuset.
	allowed cpulist.Set
}

// Set sets the visible CPUs to the lowest online CPUs of the cpuset: as many as the CFS quota
// amounts to, rounded up. If the cpuset has no online CPU, in which case the kernel does not apply
// it, all online CPUs are used.
func (c *CPUs) Set(online, cpuset *cpulist.Set, quota cgroup.Quota) {
	c.quota = quota
	c.allowed = *cpuset
	c.allowed.Intersect(online)
	n := c.allowed.Len()
	if n == 0 {
		c.allowed = *online
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

// Len returns the number of visible CPUs, at least 1.
func (c *CPUs) Len() int { return len(c.host) }

// Host returns the host's number of the visible CPU i, which must be below Len.
func (c *CPUs) Host(i int) int { return c.host[i] }

// OneToOne returns the host's numbers of the visible CPUs, or nil if the container sees fewer CPUs
// than it may run on, because of the quota.
func (c *CPUs) OneToOne() []int {
	if c.allowed.Len() > len(c.host) {
		return nil
	}
	return c.host
}

// Quota returns the CFS quota.
func (c *CPUs) Quota() cgroup.Quota { return c.quota }

// Index returns the container's number of a CPU of the host, and whether it is visible.
func (c *CPUs) Index(host int) (int, bool) { return slices.BinarySearch(c.host, host) }

// CPUOnline appends /sys/devices/system/cpu/online.
func CPUOnline(dst []byte, c *CPUs) []byte {
	dst = append(dst, '0')
	if c.Len() > 1 {
		dst = append(dst, '-')
		dst = appendUint(dst, uint64(c.Len()-1))
	}
	return append(dst, '\n')
}

// CPUOffline appends /sys/devices/system/cpu/offline: the host's possible CPUs without the visible
// ones (print_cpus_offline() in drivers/base/cpu.c).
func CPUOffline(dst []byte, possible *cpulist.Set, c *CPUs) []byte {
	return append(possible.AppendFrom(dst, c.Len()), '\n')
}

// CPUList appends a list of CPUs, such as node0/cpulist, with the container's numbers of the visible
// CPUs in the host's list.
func CPUList(dst []byte, c *CPUs, host []byte) ([]byte, error) {
	var set cpulist.Set
	if err := set.Parse(host); err != nil {
		return dst, err
	}
	c.renumber(&set)
	return append(set.Append(dst), '\n'), nil
}

// CPUMap is CPUList for a hexadecimal mask, such as node0/cpumap. It has as many digits as the
// host's.
func CPUMap(dst []byte, c *CPUs, host []byte) ([]byte, error) {
	var set cpulist.Set
	digits, err := set.ParseMask(host)
	if err != nil {
		return dst, err
	}
	c.renumber(&set)
	return append(set.AppendMask(dst, digits), '\n'), nil
}

// renumber replaces the host's numbers of CPUs by the container's, and removes invisible ones.
func (c *CPUs) renumber(set *cpulist.Set) {
	host := *set
	*set = cpulist.Set{}
	for i, cpu := range c.host {
		if host.Has(cpu) {
			set.Add(i)
		}
	}
}
