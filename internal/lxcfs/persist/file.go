// Package persist holds what the next worker must know of the last one: the counters of containers
// that the kernel does not keep, the content of files that are being read, and pressure triggers.
// All of it is in one file that is mapped into memory, so that it is up to date however the process
// ends. The file does not outlive a reboot, as containers do not.
package persist

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"
	"unsafe"

	"palisade/internal/linux/sys"
)

// File is the mapped file. The zero File keeps nothing.
type File struct {
	Reads    Reads
	Triggers Triggers
	Counters Counters
}

// memory is the layout of the file, without the records of Counters, which follow. Fields that
// readers use concurrently with writers of another process are atomic.
type memory struct {
	header
	_        [4096 - unsafe.Sizeof(header{})]byte
	reads    readsMemory
	triggers [MaxTriggers]Trigger
}

type header struct {
	magic         [16]byte
	version, cpus uint32
	top           uint32 // the number of records of Counters that were ever used
}

const version = 3

var magic = [16]byte([]byte("palisade-guests\x00"))

const recordsAt = int(unsafe.Sizeof(memory{}))

// Key identifies a container across workers. The zero Key is the host's.
type Key struct {
	PIDNamespace uint64
	PID          int
	Start        time.Duration // of its init, since boot
}

// Open opens the file that the last worker left, with counters for at most so many CPUs. A missing
// or unusable one is replaced by a new one; without a path nothing is kept. isRunning reports
// whether a container still exists.
func Open(path string, cpus int, isRunning func(Key) bool, log *slog.Logger) *File {
	f := new(File)
	if path == "" {
		return f
	}
	mem, err := open(path, cpus)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			log.Warn("idle times and loads of containers start again", "err", err)
		}
		mem, err = create(path, cpus)
	}
	if err != nil {
		log.Warn("idle times and loads of containers will be lost with this process", "err", err)
		return f
	}
	m := (*memory)(unsafe.Pointer(&mem[0]))
	f.Reads.mem, f.Triggers.mem = &m.reads, m.triggers[:]
	f.Counters.init(&m.header, mem[recordsAt:], isRunning)
	return f
}

func open(path string, cpus int) ([]byte, error) {
	f, err := sys.OpenReadWrite(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	want := recordsAt + maxContainers*recordSize(cpus)
	if size, err := f.Size(); err != nil || size != int64(want) {
		return nil, errors.Join(err, fmt.Errorf("%s has %d bytes, want %d", path, size, want))
	}
	mem, err := f.Map(want)
	if err != nil {
		return nil, err
	}
	h := (*header)(unsafe.Pointer(&mem[0]))
	if h.magic != magic || h.version != version || int(h.cpus) != cpus {
		return nil, errors.Join(fmt.Errorf("%s is of another version", path), sys.Unmap(mem))
	}
	return mem, nil
}

// create creates a new file. Another process may still have the old one mapped.
func create(path string, cpus int) ([]byte, error) {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return nil, err
	}
	defer os.Remove(tmp.Name()) // fails after the rename
	h := header{magic: magic, version: version, cpus: uint32(cpus)}
	_, err = tmp.Write((*[unsafe.Sizeof(h)]byte)(unsafe.Pointer(&h))[:])
	err = errors.Join(err, tmp.Truncate(int64(recordsAt+maxContainers*recordSize(cpus))),
		tmp.Close())
	if err != nil {
		return nil, err
	}
	mem, err := open(tmp.Name(), cpus)
	if err != nil {
		return nil, err
	}
	return mem, os.Rename(tmp.Name(), path)
}
