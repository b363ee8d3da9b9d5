package view

import (
	"cmp"

	"palisade/internal/cgroup"
	"palisade/internal/procfs"
)

// Disk is a disk that the container sees.
type Disk struct {
	procfs.Device
	// Name is that of its node in the container's /dev, or sda for the disk that holds the
	// container's root; "" for the host's name.
	Name string
}

// sectorSize is the unit of /proc/diskstats in bytes, whatever the disk's.
const sectorSize = 512

// nanosPerMilli is the unit of times in /proc/diskstats.
const nanosPerMilli = 1e6

// diskColumns is the greatest number of columns that we know the meaning of.
const diskColumns = 17

// Diskstats is /proc/diskstats: those of the disks that the host lists too, in its order and with as many columns, and
// what the container did on them. Partitions are left out.
func Diskstats(dst []byte, host *procfs.Diskstats, disks []Disk, io []cgroup.DeviceIO) []byte {
	for i := range host.Devices {
		h := &host.Devices[i]
		name, ok := diskName(disks, h.Device, h.Name)
		if !ok || h.Partition {
			continue
		}
		dst = appendPadded(dst, uint64(h.Major), 4)
		dst = append(dst, ' ')
		dst = appendPadded(dst, uint64(h.Minor), 7)
		dst = append(dst, ' ')
		dst = append(dst, name...)
		columns := diskFigures(io, h.Device)
		for c := range h.Columns {
			dst = append(dst, ' ')
			if c < diskColumns {
				dst = appendUint(dst, columns[c])
			} else {
				dst = append(dst, '0')
			}
		}
		dst = append(dst, '\n')
	}
	return dst
}

// diskName returns the name of the disk dev, which the host calls onHost, and whether it is shown.
func diskName(disks []Disk, dev procfs.Device, onHost string) (string, bool) {
	for i := range disks {
		if disks[i].Device == dev {
			return cmp.Or(disks[i].Name, onHost), true
		}
	}
	return "", false
}

// diskFigures are the columns of a disk as the kernel's Documentation/admin-guide/iostats.rst numbers them, from 0.
// Cgroups do not tell of merged discards and of flushes; for how long the disk was busy (9) stands the time that the
// requests took (10), which is more where several were under way at once.
func diskFigures(io []cgroup.DeviceIO, dev procfs.Device) (f [diskColumns]uint64) {
	for i := range io {
		d := &io[i]
		if d.Major != dev.Major || d.Minor != dev.Minor {
			continue
		}
		f[0], f[1], f[2], f[3] = d.Reads, d.ReadMerges, d.ReadBytes/sectorSize, d.ReadNanos/nanosPerMilli
		f[4], f[5], f[6], f[7] = d.Writes, d.WriteMerges, d.WriteBytes/sectorSize, d.WriteNanos/nanosPerMilli
		f[8] = d.InFlight
		f[9] = plus(d.ReadNanos, d.WriteNanos) / nanosPerMilli
		f[10] = f[9]
		f[11], f[13] = d.Discards, d.DiscardBytes/sectorSize
		break
	}
	return f
}
