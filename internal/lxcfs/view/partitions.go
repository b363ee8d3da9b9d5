package view

import "palisade/internal/linux/procfs"

// Partitions appends /proc/partitions with the disks of Diskstats and their real sizes.
func Partitions(dst []byte, host *procfs.Disks, disks []Disk) []byte {
	dst = append(dst, host.Header...)
	for i := range host.Devices {
		h := &host.Devices[i]
		name, ok := diskName(disks, h.Device, h.Name)
		if !ok || h.Partition {
			continue
		}
		dst = appendPadded(dst, uint64(h.Major), 4)
		dst = append(dst, "  "...)
		dst = appendPadded(dst, uint64(h.Minor), 7)
		dst = append(dst, ' ')
		dst = appendPadded(dst, h.Blocks, 10)
		dst = append(dst, ' ')
		dst = append(dst, name...)
		dst = append(dst, '\n')
	}
	return dst
}
