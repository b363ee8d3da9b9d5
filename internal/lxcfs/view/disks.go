package view

import (
	"cmp"

	"palisade/internal/linux/cgroup"
	"palisade/internal/linux/ktext"
	"palisade/internal/linux/procfs"
)

// Disk is a disk that the container sees.
type Disk struct {
	procfs.Device
	// Name is the name in the container's /dev, sda for the disk of the container's root, or "" for
	// the host's name.
	Name string
}

// sectorSize is the unit of /proc/diskstats in bytes, independent of the disk's.
const sectorSize = 512

// nanosPerMilli is the unit of times in /proc/diskstats.
const nanosPerMilli = 1e6

// diskColumns is the number of known columns, that of Linux 5.5 and later.
const diskColumns = 17

// Diskstats appends /proc/diskstats with the container's I/O on its disks, in the order and with
// the columns of the host's file. Partitions are omitted.
func Diskstats(dst []byte, host *procfs.Disks, disks []Disk, io []cgroup.DeviceIO) []byte {
	for i := range host.Devices {
		h := &host.Devices[i]
		if h.Partition {
			continue
		}
		name, ok := diskName(disks, h.Device, h.Name)
		if !ok {
			continue
		}
		dst = append(append(appendDevice(dst, h.Device, " "), ' '), name...)
		values := diskValues(io, h.Device)
		for c := range h.Columns {
			var value uint64
			if c < diskColumns {
				value = values[c]
			}
			dst = appendUint(append(dst, ' '), value)
		}
		dst = append(dst, '\n')
	}
	return dst
}

// diskName returns the container's name of the disk dev, and whether it is visible.
func diskName(disks []Disk, dev procfs.Device, hostName string) (string, bool) {
	for i := range disks {
		if disks[i].Device == dev {
			return cmp.Or(disks[i].Name, hostName), true
		}
	}
	return "", false
}

// diskValues returns the columns of a disk, numbered from 0, as in
// Documentation/admin-guide/iostats.rst. Cgroups do not count merged discards and flushes. Instead
// of the time that the disk was busy (9) it returns the sum of the times of the requests (10).
func diskValues(io []cgroup.DeviceIO, dev procfs.Device) (f [diskColumns]uint64) {
	for i := range io {
		d := &io[i]
		if d.Major != dev.Major || d.Minor != dev.Minor {
			continue
		}
		f[0], f[1], f[2] = d.Reads, d.ReadMerges, d.ReadBytes/sectorSize
		f[3] = d.ReadNanos / nanosPerMilli
		f[4], f[5], f[6] = d.Writes, d.WriteMerges, d.WriteBytes/sectorSize
		f[7] = d.WriteNanos / nanosPerMilli
		f[8] = d.InFlight
		f[9] = ktext.Add(d.ReadNanos, d.WriteNanos) / nanosPerMilli
		f[10] = f[9]
		f[11], f[13] = d.Discards, d.DiscardBytes/sectorSize
		break
	}
	return f
}

// Partitions appends /proc/partitions with the disks of Diskstats and their real sizes.
func Partitions(dst []byte, host *procfs.Disks, disks []Disk) []byte {
	dst = append(dst, host.Header...)
	for i := range host.Devices {
		h := &host.Devices[i]
		if h.Partition {
			continue
		}
		if name, ok := diskName(disks, h.Device, h.Name); ok {
			dst = appendPadded(append(appendDevice(dst, h.Device, "  "), ' '), h.Blocks, 10)
			dst = append(append(append(dst, ' '), name...), '\n')
		}
	}
	return dst
}

func appendDevice(dst []byte, d procfs.Device, separator string) []byte {
	dst = append(appendPadded(dst, uint64(d.Major), 4), separator...)
	return appendPadded(dst, uint64(d.Minor), 7)
}
