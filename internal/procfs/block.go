package procfs

import (
	"bytes"
	"cmp"
	"slices"
)

// maxSlaves bounds the search for the disks below a device: both its depth and how many devices are looked at.
const maxSlaves = 64

// WholeDisk is the disk that a block device is a part of, or the device itself where it is no partition (a disk, or a
// device of device mapper, md or loop). There is none for what is no block device, such as the device number of a btrfs
// or overlay mount.
func (fs *FS) WholeDisk(major, minor uint32) (Device, bool) {
	d := Device{major, minor}
	dir := "dev/block/" + d.String()
	if _, ok := fs.readDevice(dir + "/dev"); !ok {
		return Device{}, false
	}
	if _, err := fs.sys.ReadFileAt(dir+"/partition", nil); err != nil {
		return d, true
	}
	// The directory of a partition lies in that of its disk, and dev/block leads there by a symbolic link.
	return fs.readDevice(dir + "/../dev")
}

// Slaves are the disks that hold the data of a block device, in order of their numbers: below device mapper and md, down
// to devices that lie on no other, of which partitions stand for their disk. A device that lies on no other is all.
func (fs *FS) Slaves(major, minor uint32) []Device {
	var found, seen []Device
	todo := []Device{{major, minor}}
	for len(todo) > 0 && len(seen) < maxSlaves {
		d, ok := fs.WholeDisk(todo[0].Major, todo[0].Minor)
		todo = todo[1:]
		if !ok || slices.Contains(seen, d) {
			continue
		}
		seen = append(seen, d)
		if below := fs.slaves(d); len(below) > 0 {
			todo = append(todo, below...)
		} else {
			found = append(found, d)
		}
	}
	slices.SortFunc(found, func(a, b Device) int {
		return cmp.Or(cmp.Compare(a.Major, b.Major), cmp.Compare(a.Minor, b.Minor))
	})
	return found
}

// slaves are the devices that d directly lies on.
func (fs *FS) slaves(d Device) []Device {
	dir := "dev/block/" + d.String() + "/slaves/"
	slaves, err := fs.sys.OpenDirAt(dir)
	if err != nil {
		return nil
	}
	defer slaves.Close()
	names, err := slaves.List()
	if err != nil {
		return nil
	}
	var below []Device
	for _, name := range names {
		if s, ok := fs.readDevice(dir + name + "/dev"); ok {
			below = append(below, s)
		}
	}
	return below
}

// readDevice reads a file "dev" of sysfs.
func (fs *FS) readDevice(path string) (Device, bool) {
	text, err := fs.sys.ReadFileAt(path, make([]byte, 0, 32))
	if err != nil {
		return Device{}, false
	}
	first, second, ok := bytes.Cut(bytes.TrimSpace(text), []byte{':'})
	major, ok1 := number32(first)
	minor, ok2 := number32(second)
	return Device{major, minor}, ok && ok1 && ok2
}
