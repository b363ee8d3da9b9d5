// Package procfs reads the host's texts in /proc and /sys, once for many readers. A text is parsed into a snapshot that
// never changes and is shared until it is too old; what a snapshot holds is the skeleton into which the figures of a
// container are put.
package procfs

import (
	"fmt"
	"os"
	"time"

	"palisade/internal/cpulist"
	"palisade/internal/sys"
)

const (
	// maxAge is how old a snapshot may be. It spares the host a reader in a tight loop, while counters such as ctxt
	// stay good for tools that sample every second.
	maxAge = 100 * time.Millisecond
	// cpuinfoMaxAge is the age allowed to /proc/cpuinfo, of which only "cpu MHz" changes between hotplugs. The text has
	// more than 1 KiB for each CPU, and on x86 with Linux 4.13 to 5.17 each read interrupts every CPU to measure its
	// clock, idle ones too.
	cpuinfoMaxAge = time.Second
	// grace is for how long after that the last snapshot serves others while one of them reads a new one.
	grace = 900 * time.Millisecond
)

// cpuDir is below the root of sysfs.
const cpuDir = "devices/system/cpu/"

// FS reads the host's /proc and /sys. It is safe for concurrent use, and no reader waits for another: while one reads a
// text anew the others have the last snapshot, and before there is one each reads for itself. Each of these reads opens
// the file, because the kernel keeps the text of a half-read file with its open descriptor: two readers of one
// descriptor could be given a text put together of two.
type FS struct {
	// Sysinfo tells the host's totals of memory and swap at this very moment, so that a swapon shows at once. It is
	// sys.ReadSysinfo but in tests.
	Sysinfo func() (sys.Sysinfo, error)

	proc, sys sys.File
	now       func() time.Time

	meminfo    source[Meminfo]
	cpuinfo    source[Cpuinfo]
	stat       source[Stat]
	swaps      source[Swaps]
	diskstats  source[Diskstats]
	partitions source[Partitions]
	online     source[cpulist.Set]
	possible   source[cpulist.Set]
}

// New opens the directories where procfs and sysfs are mounted; no file in them is read yet.
func New(procRoot, sysRoot string) (*FS, error) {
	proc, err := sys.OpenDir(procRoot)
	if err != nil {
		return nil, err
	}
	sysfs, err := sys.OpenDir(sysRoot)
	if err != nil {
		proc.Close()
		return nil, err
	}
	fs := &FS{Sysinfo: sys.ReadSysinfo, proc: proc, sys: sysfs, now: time.Now}
	fs.meminfo.init(maxAge, func() (*Meminfo, error) { return load(fs.proc, "meminfo", ParseMeminfo) })
	fs.cpuinfo.init(cpuinfoMaxAge, fs.loadCpuinfo)
	fs.stat.init(maxAge, func() (*Stat, error) { return load(fs.proc, "stat", ParseStat) })
	fs.swaps.init(maxAge, func() (*Swaps, error) { return load(fs.proc, "swaps", ParseSwaps) })
	fs.diskstats.init(maxAge, fs.loadDiskstats)
	fs.partitions.init(maxAge, fs.loadPartitions)
	fs.online.init(maxAge, func() (*cpulist.Set, error) { return load(fs.sys, cpuDir+"online", parseCPUs) })
	fs.possible.init(maxAge, func() (*cpulist.Set, error) {
		return load(fs.sys, cpuDir+"possible", parseCPUs)
	})
	return fs, nil
}

// Close closes the directories. Nothing may be read from then on.
func (fs *FS) Close() error {
	err := fs.proc.Close()
	if e := fs.sys.Close(); err == nil {
		err = e
	}
	return err
}

// Meminfo is /proc/meminfo, at most 100 ms old.
func (fs *FS) Meminfo() (*Meminfo, error) { return fs.meminfo.get(fs.now()) }

// Stat is /proc/stat, at most 100 ms old.
func (fs *FS) Stat() (*Stat, error) { return fs.stat.get(fs.now()) }

// Swaps is the form of /proc/swaps.
func (fs *FS) Swaps() (*Swaps, error) { return fs.swaps.get(fs.now()) }

// Diskstats is /proc/diskstats, at most 100 ms old.
func (fs *FS) Diskstats() (*Diskstats, error) { return fs.diskstats.get(fs.now()) }

// Partitions is /proc/partitions, at most 100 ms old.
func (fs *FS) Partitions() (*Partitions, error) { return fs.partitions.get(fs.now()) }

// Online is the set of the host's CPUs that are online, /sys/devices/system/cpu/online, at most 100 ms old. It is
// shared and must not be changed.
func (fs *FS) Online() (*cpulist.Set, error) { return fs.online.get(fs.now()) }

// Possible returns the host's CPUs, with those that may be added while it runs
// (/sys/devices/system/cpu/possible). The set is shared and must not be changed.
func (fs *FS) Possible() (*cpulist.Set, error) { return fs.possible.get(fs.now()) }

// Cpuinfo is /proc/cpuinfo: its CPUs at most 100 ms old, the rest at most a second.
func (fs *FS) Cpuinfo() (*Cpuinfo, error) {
	now := fs.now()
	online, err := fs.online.get(now)
	if err != nil {
		return nil, err
	}
	c, err := fs.cpuinfo.get(now)
	if err == nil && !c.online.Equal(*online) {
		return fs.cpuinfo.refresh(now)
	}
	return c, err
}

// loadCpuinfo notes the CPUs that are online before it reads the text: if one comes or goes in between, the next reader
// sees another set and reads again.
func (fs *FS) loadCpuinfo() (*Cpuinfo, error) {
	online, err := load(fs.sys, cpuDir+"online", parseCPUs)
	if err != nil {
		return nil, err
	}
	c, err := load(fs.proc, "cpuinfo", ParseCpuinfo)
	if err != nil {
		return nil, err
	}
	c.online = *online
	return c, nil
}

// Raw reads one of the host's files as it is and appends its text to dst: meminfo, cpuinfo, stat, uptime, swaps,
// diskstats, partitions, loadavg, slabinfo and those of pressure of /proc, and cpu/online, cpu/offline, cpu/present,
// cpu/possible and cpu/kernel_max of /sys/devices/system. The name of any other does not exist. The host shows slabinfo to
// root alone, and so must the caller.
func (fs *FS) Raw(name string, dst []byte) ([]byte, error) {
	dir, path := fs.proc, name
	switch name {
	case "meminfo", "cpuinfo", "stat", "uptime", "swaps", "diskstats", "partitions", "loadavg", "slabinfo",
		"pressure/cpu", "pressure/memory", "pressure/io":
	case "cpu/online", "cpu/offline", "cpu/present", "cpu/possible", "cpu/kernel_max":
		dir, path = fs.sys, "devices/system/"+name
	default:
		return dst, &os.PathError{Op: "read", Path: name, Err: os.ErrNotExist}
	}
	free := dst[len(dst):]
	text, err := dir.ReadFileAt(path, free)
	if err != nil {
		return dst, fmt.Errorf("read %s: %w", name, err)
	}
	return append(dst, text...), nil
}

// load reads the whole text of a file and parses it. The parsed value keeps the text.
func load[T any](dir sys.File, name string, parse func([]byte) (*T, error)) (*T, error) {
	text, err := dir.ReadFileAt(name, nil)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	v, err := parse(text)
	if err != nil {
		return nil, fmt.Errorf("parse %s: %w", name, err)
	}
	return v, nil
}
