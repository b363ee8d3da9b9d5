// Package persist holds what the next worker must know of the last one: the counters of containers
// that the kernel does not keep, the content of files that are being read, and pressure triggers.
// All of it is in one file that is mapped into memory, so that it is up to date however the process
// ends. The file does not outlive a reboot, as containers do not.
package persist

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"palisade/internal/linux/sys"
)

// File is the mapped file. The zero File keeps nothing.
type File struct {
	Reads    Reads
	Triggers Triggers
	Counters Counters
}

// Layout of the file: a header page, the memory of Reads and of Triggers, then that of Counters.
const (
	magic   = "palisade-guests\x00"
	version = 3

	versionAt  = 16 // uint32
	cpusAt     = 20 // uint32
	topAt      = 24 // uint32, see Counters
	readsAt    = 4096
	triggersAt = readsAt + ReadsSize
	recordsAt  = triggersAt + triggersSize
)

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
	f.Reads.mem = mem[readsAt:triggersAt]
	f.Triggers.mem = mem[triggersAt:recordsAt]
	f.Counters.init(mem, cpus, isRunning)
	return f
}

func fileSize(cpus int) int { return recordsAt + maxContainers*recordSize(cpus) }

func open(path string, cpus int) ([]byte, error) {
	f, err := sys.OpenReadWrite(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	if size != int64(fileSize(cpus)) {
		return nil, fmt.Errorf("%s has %d bytes, want %d", path, size, fileSize(cpus))
	}
	mem, err := f.Map(fileSize(cpus))
	if err != nil {
		return nil, err
	}
	if string(mem[:len(magic)]) != magic || u32(mem, versionAt) != version ||
		int(u32(mem, cpusAt)) != cpus {
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
	err = tmp.Truncate(int64(fileSize(cpus)))
	tmp.Close()
	if err != nil {
		return nil, err
	}
	f, err := sys.OpenReadWrite(tmp.Name())
	if err != nil {
		return nil, err
	}
	defer f.Close()
	mem, err := f.Map(fileSize(cpus))
	if err != nil {
		return nil, err
	}
	putU32(mem, versionAt, version)
	putU32(mem, cpusAt, uint32(cpus))
	copy(mem, magic)
	return mem, os.Rename(tmp.Name(), path)
}

// Key identifies a container across workers. The zero Key is the host's.
type Key struct {
	PIDNamespace uint64
	PID          int
	Start        time.Duration // of its init, since boot
}

const keySize = 3 * 8

func (k Key) put(b []byte) {
	binary.NativeEndian.PutUint64(b, k.PIDNamespace)
	binary.NativeEndian.PutUint64(b[8:], uint64(k.PID))
	binary.NativeEndian.PutUint64(b[16:], uint64(k.Start))
}

func keyIn(b []byte) Key {
	return Key{u64(b, 0), int(u64(b, 8)), time.Duration(u64(b, 16))}
}

func u32(b []byte, at int) uint32 { return binary.NativeEndian.Uint32(b[at:]) }
func u64(b []byte, at int) uint64 { return binary.NativeEndian.Uint64(b[at:]) }

func putU32(b []byte, at int, n uint32) { binary.NativeEndian.PutUint32(b[at:], n) }
