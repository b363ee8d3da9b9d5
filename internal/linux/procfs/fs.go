// Package procfs reads the host's files in /proc and /sys, once for many readers. A file is parsed
// into an immutable snapshot, which is shared until it is too old. A snapshot is a template, which
// package view fills with the values of a container.
package procfs

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"palisade/internal/linux/cpulist"
	"palisade/internal/linux/sys"
)

const (
	// maxAge is the maximum age of a snapshot. It limits the cost of readers in a tight loop, and
	// keeps counters such as ctxt accurate enough for tools that sample every second.
	maxAge = 100 * time.Millisecond
	// cpuinfoMaxAge is the maximum age of /proc/cpuinfo, in which only "cpu MHz" changes between
	// hotplugs. It has more than 1 KiB for each CPU, and on x86 with Linux 4.13 to 5.17 each read
	// interrupts every CPU, even idle ones, to measure its frequency.
	cpuinfoMaxAge = time.Second
	// grace is the additional time for which other readers get the last snapshot while one of them
	// reads a new one.
	grace = 900 * time.Millisecond
)

// FS reads the host's /proc and /sys. It is safe for concurrent use, and readers seldom wait for
// another: while one reads a file again the others get the last snapshot, and each reads for itself
// before there is one. Files of one record stay open. Each read opens the others: the kernel keeps
// the content of a partially read seq_file with the open file, so that two readers of one could get
// a mix of two versions.
type FS struct {
	// Sysinfo returns the host's current totals of memory and swap, so that a swapon shows at once.
	// It is sys.ReadSysinfo except in tests.
	Sysinfo func() (sys.Sysinfo, error)

	proc, sys sys.File
	now       func() time.Time
	// meminfoFile and the others stay open.
	meminfoFile, statFile, onlineFile, possibleFile, onlineNodesFile record

	meminfo    source[Meminfo]
	cpuinfo    source[Cpuinfo]
	stat       source[Stat]
	swaps      source[Swaps]
	diskstats  source[Disks]
	partitions source[Disks]
	online     source[cpulist.Set]
	possible   source[cpulist.Set]
	vmstat     source[Vmstat]
	nodes      source[Nodes]
	// onlineNodes is what most readers need of nodes: it is one file.
	onlineNodes source[cpulist.Set]
}

// New returns an FS that reads the procfs and sysfs mounted at the given directories.
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
	fs := &FS{
		Sysinfo: sys.ReadSysinfo, proc: proc, sys: sysfs, now: time.Now,
		meminfoFile:  record{dir: proc, name: "meminfo"},
		statFile:     record{dir: proc, name: "stat"},
		onlineFile:   record{dir: sysfs, name: "devices/system/cpu/online"},
		possibleFile: record{dir: sysfs, name: "devices/system/cpu/possible"},

		onlineNodesFile: record{dir: sysfs, name: NodeDir + "/online"},
	}
	fs.meminfo.init(maxAge, func() (*Meminfo, error) { return loadRecord(&fs.meminfoFile, ParseMeminfo) })
	fs.cpuinfo.init(cpuinfoMaxAge, fs.loadCpuinfo)
	fs.stat.init(maxAge, func() (*Stat, error) { return loadRecord(&fs.statFile, ParseStat) })
	fs.swaps.init(maxAge, func() (*Swaps, error) { return load("swaps", fs.whole("swaps"), ParseSwaps) })
	fs.diskstats.init(maxAge, fs.loadDisks("diskstats", ParseDiskstats))
	fs.partitions.init(maxAge, fs.loadDisks("partitions", ParsePartitions))
	fs.online.init(maxAge, func() (*cpulist.Set, error) { return loadRecord(&fs.onlineFile, parseCPUs) })
	fs.possible.init(maxAge, func() (*cpulist.Set, error) { return loadRecord(&fs.possibleFile, parseCPUs) })
	fs.vmstat.init(maxAge, func() (*Vmstat, error) { return load("vmstat", fs.whole("vmstat"), ParseVmstat) })
	fs.nodes.init(maxAge, fs.loadNodes)
	fs.onlineNodes.init(maxAge, func() (*cpulist.Set, error) { return loadRecord(&fs.onlineNodesFile, parseCPUs) })
	return fs, nil
}

// Close closes the directories. It must not be called during other calls.
func (fs *FS) Close() error {
	return errors.Join(fs.proc.Close(), fs.sys.Close(), fs.meminfoFile.close(), fs.statFile.close(),
		fs.onlineFile.close(), fs.possibleFile.close(), fs.onlineNodesFile.close())
}

// Meminfo returns /proc/meminfo, at most 100 ms old.
func (fs *FS) Meminfo() (*Meminfo, error) { return fs.meminfo.get(fs.now()) }

// Stat returns /proc/stat, at most 100 ms old.
func (fs *FS) Stat() (*Stat, error) { return fs.stat.get(fs.now()) }

// Swaps returns the format of /proc/swaps.
func (fs *FS) Swaps() (*Swaps, error) { return fs.swaps.get(fs.now()) }

// Diskstats returns /proc/diskstats, at most 100 ms old.
func (fs *FS) Diskstats() (*Disks, error) { return fs.diskstats.get(fs.now()) }

// Partitions returns /proc/partitions, at most 100 ms old.
func (fs *FS) Partitions() (*Disks, error) { return fs.partitions.get(fs.now()) }

// Online returns the host's online CPUs (/sys/devices/system/cpu/online), at most 100 ms old. The
// set is shared and must not be changed.
func (fs *FS) Online() (*cpulist.Set, error) { return fs.online.get(fs.now()) }

// Possible returns the host's CPUs, including those that may be added at run time
// (/sys/devices/system/cpu/possible). The set is shared and must not be changed.
func (fs *FS) Possible() (*cpulist.Set, error) { return fs.possible.get(fs.now()) }

// Vmstat returns /proc/vmstat, at most 100 ms old.
func (fs *FS) Vmstat() (*Vmstat, error) { return fs.vmstat.get(fs.now()) }

// Nodes returns the online NUMA nodes, at most 100 ms old.
func (fs *FS) Nodes() (*Nodes, error) { return fs.nodes.get(fs.now()) }

// OnlineNodes returns the numbers of the online NUMA nodes, at most 100 ms old. The set is shared
// and must not be changed.
func (fs *FS) OnlineNodes() (*cpulist.Set, error) { return fs.onlineNodes.get(fs.now()) }

// Cpuinfo returns /proc/cpuinfo: its CPUs at most 100 ms old, other values at most a second.
func (fs *FS) Cpuinfo() (*Cpuinfo, error) {
	now := fs.now()
	online, err := fs.online.get(now)
	if err != nil {
		return nil, err
	}
	c, err := fs.cpuinfo.get(now)
	if err == nil && c.online != *online {
		return fs.cpuinfo.refresh(now)
	}
	return c, err
}

// loadCpuinfo reads the online CPUs before cpuinfo: after a hotplug in between, the next reader
// finds a different set and reads again.
func (fs *FS) loadCpuinfo() (*Cpuinfo, error) {
	online, err := loadRecord(&fs.onlineFile, parseCPUs)
	if err != nil {
		return nil, err
	}
	c, err := load("cpuinfo", fs.whole("cpuinfo"), ParseCpuinfo)
	if err != nil {
		return nil, err
	}
	c.online = *online
	return c, nil
}

// list returns the names in a directory of sysfs.
func (fs *FS) list(path string) ([]string, error) {
	dir, err := fs.sys.OpenDirAt(path)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	return dir.List()
}

// Raw appends the content of a host file to dst: meminfo, cpuinfo, stat, uptime, swaps, diskstats,
// partitions, loadavg, slabinfo, vmstat and pressure/* of /proc, or cpu/online, cpu/offline, cpu/present,
// cpu/possible and cpu/kernel_max of /sys/devices/system. For other names the error is
// os.ErrNotExist. Only root may read slabinfo, which the caller must enforce.
func (fs *FS) Raw(name string, dst []byte) ([]byte, error) {
	dir, path := fs.proc, name
	switch name {
	case "meminfo", "cpuinfo", "stat", "uptime", "swaps", "diskstats", "partitions", "loadavg",
		"slabinfo", "vmstat", "pressure/cpu", "pressure/memory", "pressure/io":
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

// load parses the text of a file that read returns. The result may refer to it.
func load[T any](
	name string, read func() ([]byte, error), parse func([]byte) (*T, error),
) (*T, error) {
	text, err := read()
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	v, err := parse(text)
	if err != nil {
		return nil, fmt.Errorf("parse %s: %w", name, err)
	}
	return v, nil
}

func loadRecord[T any](r *record, parse func([]byte) (*T, error)) (*T, error) {
	return load(r.name, r.read, parse)
}

// whole returns a function that opens and reads a file of /proc with several records.
func (fs *FS) whole(name string) func() ([]byte, error) {
	return func() ([]byte, error) { return fs.proc.ReadFileAt(name, nil) }
}

// record is a file of one record, which stays open.
type record struct {
	dir  sys.File
	name string
	file atomic.Pointer[sys.File]
	// size is the size of the buffer that was large enough.
	size atomic.Int64
}

func (r *record) read() ([]byte, error) {
	f := r.file.Load()
	if f == nil {
		opened, err := r.dir.OpenAt(r.name)
		if err != nil {
			return nil, err
		}
		if f = &opened; !r.file.CompareAndSwap(nil, f) {
			f.Close()
			f = r.file.Load()
		}
	}
	text, err := f.ReadText(make([]byte, 0, r.size.Load()))
	r.size.Store(int64(cap(text)))
	return text, err
}

// close closes the file. It must not be called during other calls.
func (r *record) close() error {
	if f := r.file.Load(); f != nil {
		return f.Close()
	}
	return nil
}
