package procfs

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"strings"

	"palisade/internal/linux/ktext"
)

// Device is the number of a block device.
type Device struct{ Major, Minor uint32 }

// String returns the number as in sysfs, "8:1".
func (d Device) String() string { return fmt.Sprintf("%d:%d", d.Major, d.Minor) }

// Diskstats holds the devices of /proc/diskstats, in the kernel's order.
type Diskstats struct{ Devices []DiskLine }

// DiskLine is a line of /proc/diskstats.
type DiskLine struct {
	Device
	// Name is the host's name, such as sda1.
	Name string
	// Columns is the number of columns after the name: 11, 15 since Linux 4.18, 17 since Linux 5.5.
	Columns int
	// Partition is set by FS.Diskstats: the file does not tell partitions from disks.
	Partition bool
}

// ParseDiskstats parses /proc/diskstats, and skips malformed lines.
func ParseDiskstats(text []byte) (*Diskstats, error) {
	s := new(Diskstats)
	for line := range bytes.Lines(text) {
		dev, rest, ok := cutDevice(line)
		name, rest := ktext.Field(rest)
		if !ok || len(name) == 0 {
			continue
		}
		d := DiskLine{Device: dev, Name: string(name), Columns: countFields(rest)}
		s.Devices = append(s.Devices, d)
	}
	return s, nil
}

func (fs *FS) loadDiskstats() (*Diskstats, error) {
	s, err := load(fs.proc, "diskstats", ParseDiskstats)
	disks, err2 := fs.disks()
	if err = cmp.Or(err, err2); err != nil {
		return nil, err
	}
	for i := range s.Devices {
		d := &s.Devices[i]
		d.Partition = !disks[d.Name]
	}
	return s, nil
}

// disks returns the names in /sys/block, which has no partitions.
func (fs *FS) disks() (map[string]bool, error) {
	dir, err := fs.sys.OpenDirAt("block")
	if err != nil {
		return nil, fmt.Errorf("list disks: %w", err)
	}
	defer dir.Close()
	names, err := dir.List()
	if err != nil {
		return nil, fmt.Errorf("list disks: %w", err)
	}
	disks := make(map[string]bool, len(names))
	for _, name := range names {
		// A slash in a name (cciss/c0d0) is an exclamation mark in sysfs.
		disks[strings.ReplaceAll(name, "!", "/")] = true
	}
	return disks, nil
}

// Partitions is /proc/partitions.
type Partitions struct {
	// Header is the first line and the blank line after it.
	Header []byte
	// Devices are in the kernel's order.
	Devices []PartitionLine
}

// PartitionLine is a line of /proc/partitions.
type PartitionLine struct {
	Device
	// Blocks is the size in units of 1024 bytes.
	Blocks uint64
	// Name is the host's name, such as sda1.
	Name string
	// Partition is set by FS.Partitions: the file does not tell partitions from disks.
	Partition bool
}

// ParsePartitions parses /proc/partitions, and skips malformed lines. The result refers to text.
func ParsePartitions(text []byte) (*Partitions, error) {
	header, rest := cutLine(text)
	if !bytes.HasPrefix(header, []byte("major minor")) {
		return nil, errors.New("no header")
	}
	if blank, after := cutLine(rest); string(blank) == "\n" {
		rest = after
	}
	p := &Partitions{Header: text[: len(text)-len(rest) : len(text)-len(rest)]}
	for line := range bytes.Lines(rest) {
		dev, fields, ok := cutDevice(line)
		size, fields := ktext.Field(fields)
		name, _ := ktext.Field(fields)
		blocks, isNumber := ktext.Number(size)
		if !ok || !isNumber || len(name) == 0 {
			continue
		}
		p.Devices = append(p.Devices, PartitionLine{Device: dev, Blocks: blocks, Name: string(name)})
	}
	return p, nil
}

func (fs *FS) loadPartitions() (*Partitions, error) {
	p, err := load(fs.proc, "partitions", ParsePartitions)
	disks, err2 := fs.disks()
	if err = cmp.Or(err, err2); err != nil {
		return nil, err
	}
	for i := range p.Devices {
		d := &p.Devices[i]
		d.Partition = !disks[d.Name]
	}
	return p, nil
}

func cutDevice(line []byte) (dev Device, rest []byte, ok bool) {
	first, rest := ktext.Field(line)
	second, rest := ktext.Field(rest)
	major, ok1 := ktext.Number32(first)
	minor, ok2 := ktext.Number32(second)
	return Device{major, minor}, rest, ok1 && ok2
}
