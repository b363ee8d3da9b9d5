package view

import "palisade/internal/linux/procfs"

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
	if visible {
		return dst
	}
	return firstCPU(dst[:start], host)
}

// firstCPU appends the host's first CPU only. It is used if a hotplug has just removed all visible
// CPUs from the file: programs may fail without any processor.
func firstCPU(dst []byte, host *procfs.Cpuinfo) []byte {
	first := procfs.AllCPUs
	for i := range host.Sections {
		s := &host.Sections[i]
		if first == procfs.AllCPUs {
			first = s.CPU
		}
		if s.CPU == procfs.AllCPUs || s.CPU == first {
			dst = appendSection(dst, s, 0, 1)
		}
	}
	return dst
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
