package view

import (
	"slices"

	"palisade/internal/linux/procfs"
)

// Cpuinfo appends /proc/cpuinfo: the host's sections of the machine and of the visible CPUs, which
// are numbered from 0, each as a package with one core.
func Cpuinfo(dst []byte, host *procfs.Cpuinfo, c *CPUs) []byte {
	start, visible := len(dst), false
	for i := range host.Sections {
		s := &host.Sections[i]
		number, ok := 0, true
		if s.CPU != procfs.AllCPUs {
			number, ok = c.Index(s.CPU)
			visible = visible || ok
		}
		if ok {
			dst = appendSection(dst, s, number, c.Len())
		}
	}
	first := slices.IndexFunc(host.Sections, func(s procfs.CPUSection) bool {
		return s.CPU != procfs.AllCPUs
	})
	if visible || first < 0 {
		return dst
	}
	// A hotplug has just removed all visible CPUs from the file: programs may fail without any.
	return Cpuinfo(dst[:start], host, &CPUs{host: []int{host.Sections[first].CPU}})
}

// appendSection appends a section with the given CPU number and count of CPUs.
func appendSection(dst []byte, s *procfs.CPUSection, number, count int) []byte {
	for _, p := range s.Pieces {
		dst = append(dst, p.Text...)
		switch p.Number {
		case procfs.CPUNumber:
			dst = appendUint(dst, uint64(number))
		case procfs.CPUZero:
			dst = append(dst, '0')
		case procfs.CPUOne:
			dst = append(dst, '1')
		case procfs.CPUCount:
			dst = appendUint(dst, uint64(count))
		}
	}
	return dst
}
