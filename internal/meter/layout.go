// Package meter counts what lxcfs does, in memory that its processes share: the supervisor makes it, workers count in it, one
// after the other, and who tells the counters to Prometheus reads it. A counter is an atomic number at a fixed place, so that
// to count takes no lock and no memory, and outlives the worker.
//
// The memory begins with what the supervisor counts, which stays as it is in all versions: an upgrade replaces the worker and
// the reader, and not the supervisor. What workers count follows. A worker of another version begins it anew.
package meter

import (
	"errors"
	"time"
)

// File is a served file, of which there are too few to be told apart by a string.
type File int

// The served files. No file is none of them.
const (
	NoFile File = iota
	Cpuinfo
	Meminfo
	Stat
	Uptime
	Swaps
	Diskstats
	Partitions
	Loadavg
	Slabinfo
	PressureCPU
	PressureMemory
	PressureIO
	CPUOnline
	CPUOffline
	CPUOther // all else below sys/devices/system/cpu
	Status
	files
)

var fileNames = [files]string{
	Cpuinfo: "cpuinfo", Meminfo: "meminfo", Stat: "stat", Uptime: "uptime", Swaps: "swaps", Diskstats: "diskstats",
	Partitions: "partitions", Loadavg: "loadavg", Slabinfo: "slabinfo",
	PressureCPU: "pressure/cpu", PressureMemory: "pressure/memory", PressureIO: "pressure/io",
	CPUOnline: "cpu/online", CPUOffline: "cpu/offline", CPUOther: "cpu/*", Status: "status",
}

// String is the file's name, below proc or below sys/devices/system.
func (f File) String() string { return fileNames[f] }

// Kind is a kind of errors.
type Kind int

// The kinds.
const (
	// Container: it is not known whose the reader is.
	Container Kind = iota
	// Figures: those of the reader's container cannot be read.
	Figures
	// Host: the host's own file cannot be read.
	Host
	// Load: the load of a container is not known.
	Load
	// Stuck: a read took too long, and was answered without the container's figures.
	Stuck
	// Panic: a request was answered EIO because of a mistake in this program.
	Panic
	kinds
)

var kindNames = [kinds]string{"container", "figures", "host", "load", "stuck", "panic"}

func (k Kind) String() string { return kindNames[k] }

// Reason is why a worker was replaced.
type Reason int

// The reasons.
const (
	// Upgraded: it was asked for.
	Upgraded Reason = iota
	// Killed: somebody else killed it, or the kernel did for want of memory.
	Killed
	// Hung: it did not answer, or did not become ready, in time.
	Hung
	// Crashed: it ended by itself.
	Crashed
	reasons
)

var reasonNames = [reasons]string{"upgrade", "killed", "hung", "crashed"}

func (r Reason) String() string { return reasonNames[r] }

// Bounds are the upper bounds of the histogram's buckets; one without a bound follows.
var Bounds = [buckets - 1]time.Duration{
	10 * time.Microsecond, 25 * time.Microsecond, 50 * time.Microsecond, 100 * time.Microsecond, 250 * time.Microsecond,
	time.Millisecond, 10 * time.Millisecond, 100 * time.Millisecond, time.Second,
}

const buckets = 10

// Places in the memory, in numbers of eight bytes each. Of each file there are its fallbacks, the time of all its reads in
// nanoseconds, and its reads by bucket.
const (
	magicAt    = 0
	upAt       = 2
	replacedAt = 3 // by reason, with room for more

	versionAt    = 32
	requestsAt   = 33
	containersAt = 34
	triggersAt   = 35
	errorsAt     = 36
	filesAt      = errorsAt + int(kinds)
	fileSize     = 2 + buckets
	end          = filesAt + int(files)*fileSize

	fallbacksIn = 0
	timeIn      = 1
	bucketsIn   = 2
)

const (
	// Size is the size of the memory in bytes, of which there is more than this version needs.
	Size  = 16 << 10
	magic = "palisade-meter\x00\x00"
	// version is that of what workers count.
	version = 1
)

// A version needs no more than there is.
var _ [Size/8 - end]struct{}

// ErrOtherVersion is the error of memory in which a worker of another version counts.
var ErrOtherVersion = errors.New("the counters are those of another version of lxcfs")
