package procfs

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"palisade/internal/linux/ktext"
)

// Device is the number of a block device.
type Device struct{ Major, Minor uint32 }

// String returns the number as in sysfs, "8:1".
func (d Device) String() string { return fmt.Sprintf("%d:%d", d.Major, d.Minor) }

// Disks is /proc/diskstats or /proc/partitions.
type Disks struct {
	// Header is the first line of partitions and the blank line after it.
	Header []byte
	// Devices are in the kernel's order.
	Devices []DiskLine
}

// DiskLine is a line about a device.
type DiskLine struct {
	Device
	// Name is the host's name, such as sda1.
	Name string
	// Columns is the number of columns after the name in diskstats: 15, 17 since Linux 5.5.
	Columns int
	// Blocks is the size in partitions, in units of 1024 bytes.
	Blocks uint64
	// Partition is set by FS: the files do not tell partitions from disks.
	Partition bool
}

// ParseDiskstats parses /proc/diskstats, and skips malformed lines.
func ParseDiskstats(text []byte) (*Disks, error) {
	s := new(Disks)
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

// loadDisks returns a function that reads a file about block devices.
func (fs *FS) loadDisks(
	name string, parse func([]byte) (*Disks, error),
) func() (*Disks, error) {
	var last atomic.Pointer[Disks]
	var isConfirmed atomic.Bool // a new disk may be in the file before it is in /sys/block
	return func() (*Disks, error) {
		s, err := load(name, fs.whole(name), parse)
		if err != nil {
			return nil, err
		}
		before := last.Load()
		isSame := before != nil && slices.EqualFunc(before.Devices, s.Devices, sameDevice)
		if isSame && isConfirmed.Load() {
			for i := range s.Devices {
				s.Devices[i].Partition = before.Devices[i].Partition
			}
			return s, nil
		}
		disks, err := fs.disks()
		if err != nil {
			return nil, err
		}
		for i := range s.Devices {
			d := &s.Devices[i]
			d.Partition = !disks[d.Name]
		}
		last.Store(s)
		isConfirmed.Store(isSame)
		return s, nil
	}
}

func sameDevice(a, b DiskLine) bool { return a.Device == b.Device && a.Name == b.Name }

// disks returns the names in /sys/block, which has no partitions.
func (fs *FS) disks() (map[string]bool, error) {
	names, err := fs.list("block")
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

// ParsePartitions parses /proc/partitions, and skips malformed lines. The result refers to text.
func ParsePartitions(text []byte) (*Disks, error) {
	header, rest := cutLine(text)
	if !bytes.HasPrefix(header, []byte("major minor")) {
		return nil, errors.New("no header")
	}
	if blank, after := cutLine(rest); string(blank) == "\n" {
		rest = after
	}
	p := &Disks{Header: text[: len(text)-len(rest) : len(text)-len(rest)]}
	for line := range bytes.Lines(rest) {
		dev, fields, ok := cutDevice(line)
		size, fields := ktext.Field(fields)
		name, _ := ktext.Field(fields)
		blocks, isNumber := ktext.Number(size)
		if !ok || !isNumber || len(name) == 0 {
			continue
		}
		p.Devices = append(p.Devices, DiskLine{Device: dev, Blocks: blocks, Name: string(name)})
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
