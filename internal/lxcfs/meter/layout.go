// Package meter holds lxcfs's counters in memory that its processes share: the supervisor creates
// it, successive workers count in it, and lxcfs-metrics reads it. A counter is an atomic number at
// a fixed offset, so that counting needs no lock and no allocation, and the counters outlive the
// worker.
//
// The memory begins with the counters of the supervisor, whose layout never changes: an upgrade
// replaces the worker and lxcfs-metrics, but not the supervisor. The counters of workers follow,
// which a worker of another version resets.
package meter

import (
	"errors"
	"sync/atomic"
	"time"
	"unsafe"
)

// File is a served file.
type File int

// The served files. NoFile is not counted.
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
	CPUOther // any other file below sys/devices/system/cpu
	Status
	Vmstat
	Node     // any file below sys/devices/system/node
	Sysinfo  // sysinfo(2)
	Affinity // sched_getaffinity(2)
	numFiles
)

var fileNames = [numFiles]string{
	Cpuinfo: "cpuinfo", Meminfo: "meminfo", Stat: "stat", Uptime: "uptime", Swaps: "swaps",
	Diskstats: "diskstats", Partitions: "partitions", Loadavg: "loadavg", Slabinfo: "slabinfo",
	PressureCPU: "pressure/cpu", PressureMemory: "pressure/memory", PressureIO: "pressure/io",
	CPUOnline: "cpu/online", CPUOffline: "cpu/offline", CPUOther: "cpu/*", Status: "status",
	Vmstat: "vmstat", Node: "node/*",
	Sysinfo: "syscall/sysinfo", Affinity: "syscall/sched_getaffinity",
}

// String returns the name below proc or sys/devices/system.
func (f File) String() string { return fileNames[f] }

// ErrorKind is a kind of error.
type ErrorKind int

// The kinds of errors.
const (
	// Container means that the reader's container is unknown.
	Container ErrorKind = iota
	// Stats means that the limits or statistics of the container could not be read.
	Stats
	// Host means that the host's file could not be read.
	Host
	// Load means that the load of a container is unknown.
	Load
	// Stuck means that a read took too long, and was answered without the container's values.
	Stuck
	// Panic means that a bug in this program failed a request with EIO.
	Panic
	numErrorKinds
)

var errorKindNames = [numErrorKinds]string{
	"container", "figures", "host", "load", "stuck", "panic",
}

// String returns the value of the label kind.
func (k ErrorKind) String() string { return errorKindNames[k] }

// Reason is the reason why a worker was replaced.
type Reason int

// The reasons.
const (
	// Upgraded means that an upgrade was requested.
	Upgraded Reason = iota
	// Killed means that another process or the OOM killer killed it.
	Killed
	// Hung means that it did not answer or become ready in time.
	Hung
	// Crashed means that it exited by itself.
	Crashed
	numReasons
)

var reasonNames = [numReasons]string{"upgrade", "killed", "hung", "crashed"}

// String returns the value of the label reason.
func (r Reason) String() string { return reasonNames[r] }

// Bounds are the upper bounds of the histogram's buckets, except the last, which has none.
var Bounds = [numBuckets - 1]time.Duration{
	10 * time.Microsecond, 25 * time.Microsecond, 50 * time.Microsecond, 100 * time.Microsecond,
	250 * time.Microsecond, time.Millisecond, 10 * time.Millisecond, 100 * time.Millisecond,
	time.Second,
}

const numBuckets = 10

// Meter is the memory. All counters are atomic.
type Meter struct {
	magic [16]byte
	// WorkerUp is 1 while a worker serves. The supervisor updates it.
	WorkerUp atomic.Uint64
	replaced [29]atomic.Uint64 // by Reason, with room for more
	version  atomic.Uint64     // of workerCounters
	workerCounters
}

// workerCounters are the counters of workers. FS updates the exported ones.
type workerCounters struct {
	// Requests counts answered requests.
	Requests atomic.Uint64
	// Containers is the number of known containers, Triggers that of pressure triggers.
	Containers, Triggers atomic.Uint64
	errors               [numErrorKinds]atomic.Uint64
	files                [numFiles]fileCounters
}

type fileCounters struct {
	fallbacks, nanoseconds atomic.Uint64
	buckets                [numBuckets]atomic.Uint64
}

const (
	// Size is the size of the memory in bytes, with room for later versions.
	Size = 16 << 10
	// version is the version of the counters of workers.
	version = 2
)

var (
	magic = [16]byte([]byte("palisade-meter\x00\x00"))
	_     [Size - unsafe.Sizeof(Meter{})]struct{} // fails to compile if Size is too small
)

// ErrOtherVersion means that a worker of another version counts in the memory.
var ErrOtherVersion = errors.New("counters of another version of lxcfs")
