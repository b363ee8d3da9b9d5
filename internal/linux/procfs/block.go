package procfs

import (
	"cmp"
	"fmt"
	"slices"
)

// maxSlaves bounds the depth of the search for disks, and the number of devices in it.
const maxSlaves = 64

// wholeDisk returns the disk of a partition, and any other block device itself. It returns false
// for device numbers without a block device, such as those of btrfs and overlay mounts.
func (fs *FS) wholeDisk(d Device) (Device, bool) {
	dir := "dev/block/" + d.String()
	if _, ok := fs.readDevice(dir + "/dev"); !ok {
		return Device{}, false
	}
	if _, err := fs.sys.ReadFileAt(dir+"/partition", nil); err != nil {
		return d, true
	}
	// dev/block/8:1 is a symbolic link to the partition's directory, whose parent is the disk's.
	return fs.readDevice(dir + "/../dev")
}

// Slaves returns the disks that hold the data of a block device, sorted by number: the lowest
// devices below device mapper and md, with a partition replaced by its disk. A disk is its own only
// slave.
func (fs *FS) Slaves(major, minor uint32) []Device {
	var disks, seen []Device
	todo := []Device{{major, minor}}
	for len(todo) > 0 && len(seen) < maxSlaves {
		d, ok := fs.wholeDisk(todo[0])
		todo = todo[1:]
		if !ok || slices.Contains(seen, d) {
			continue
		}
		seen = append(seen, d)
		if below := fs.slaves(d); len(below) > 0 {
			todo = append(todo, below...)
		} else {
			disks = append(disks, d)
		}
	}
	slices.SortFunc(disks, func(a, b Device) int {
		return cmp.Or(cmp.Compare(a.Major, b.Major), cmp.Compare(a.Minor, b.Minor))
	})
	return disks
}

func (fs *FS) slaves(d Device) []Device {
	dir := "dev/block/" + d.String() + "/slaves/"
	names, _ := fs.list(dir) // a disk has none
	var below []Device
	for _, name := range names {
		if s, ok := fs.readDevice(dir + name + "/dev"); ok {
			below = append(below, s)
		}
	}
	return below
}

// readDevice reads a "dev" file of sysfs ("8:1").
func (fs *FS) readDevice(path string) (d Device, ok bool) {
	text, err := fs.sys.ReadFileAt(path, make([]byte, 0, 32))
	if err == nil {
		_, err = fmt.Sscanf(string(text), "%d:%d", &d.Major, &d.Minor)
	}
	return d, err == nil
}
