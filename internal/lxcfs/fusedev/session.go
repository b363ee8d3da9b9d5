package fusedev

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"unsafe"

	"github.com/hanwen/go-fuse/v2/fuse"

	"palisade/internal/linux/sys"
)

// Session is the state of a connection that outlives the process that serves it: the device, a
// clone of it for each thread, and memory for the request that each thread works on, and for queued
// ones. While any process holds the files, the kernel queues new requests for the next process;
// requests that were already read are in the memory.
type Session struct {
	master sys.File
	// clones are those of the threads. collector is the one that does not block, for requests that
	// wait; mounts of an earlier version have none.
	clones    []sys.File
	collector sys.File
	memory    sys.File
	mem       []byte
}

// header is the beginning of the memory. Slots follow at headerSize, one for each clone, and then
// the queued ones for requests of the collector. All numbers are in native byte order.
type header struct {
	magic           [16]byte
	version         uint32
	slots, slotSize uint32 // number of the clones' slots, and size of a slot
	initSize        uint32
	answered        atomic.Uint64 // the number of answered requests
	queued          uint32        // number of the collector's slots
	used            atomic.Uint32 // number of those that ever had a request: the others use no memory
	_               [16]byte
	init            [headerSize - 64]byte // the INIT request
}

var memoryMagic = [16]byte([]byte("palisade-fuse\x00\x00\x00"))

const (
	// Version 2 has no collector, and other slots. In version 1 the mount has default_permissions,
	// too.
	memoryVersion             = 3
	defaultPermissionsVersion = 1
	headerSize                = 4096

	// A slot begins with a uint32, the number of processes that have found its request unanswered.
	// The request follows at requestAt; its first four bytes are its length, which the kernel
	// writes and the thread sets to 0 after the answer.
	requestAt   = 64
	slotSize    = requestAt + requestSize
	oldSlotSize = requestAt + maxTransfer + 4096

	// queueSize is the number of requests that can be queued. A slot uses no memory until it has a
	// request, and then one or two pages.
	queueSize = 2048
)

func (s *Session) header() *header { return (*header)(unsafe.Pointer(&s.mem[0])) }

// NewSession does the handshake of a connection that was just mounted. It takes ownership of
// master, and makes n clones for as many threads, and the collector.
func NewSession(master sys.File, n int) (*Session, error) {
	s := &Session{master: master}
	init, err := handshake(master)
	if err == nil {
		err = s.clone(n)
	}
	if err == nil {
		err = s.newMemory(init, memoryVersion)
	}
	if err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// handshake answers INIT, the first request of a connection, and returns the request.
func handshake(master sys.File) ([]byte, error) {
	in := make([]byte, maxTransfer)
	n, err := master.Read(in)
	if err != nil {
		return nil, fmt.Errorf("read INIT: %w", err)
	}
	if n > len(header{}.init) {
		return nil, fmt.Errorf("read INIT: unexpected size of %d bytes", n)
	}
	out, err := answerInit(newProtocol(fuse.NewDefaultRawFileSystem(), nil), in[:n])
	if err != nil {
		return nil, err
	}
	binary.NativeEndian.PutUint32(out[initMaxWrite:], maxWrite)
	if _, err := master.Write(out); err != nil {
		return nil, fmt.Errorf("answer INIT: %w", err)
	}
	return in[:n], nil
}

func (s *Session) clone(n int) (err error) {
	for range n {
		dev, err := s.openClone(sys.OpenReadWrite)
		if err != nil {
			return err
		}
		s.clones = append(s.clones, dev)
	}
	s.collector, err = s.openClone(sys.OpenReadWriteNonblock)
	return err
}

func (s *Session) openClone(open func(path string) (sys.File, error)) (sys.File, error) {
	dev, err := open(devicePath)
	if err != nil {
		return dev, err
	}
	if err := dev.CloneFuse(s.master); err != nil {
		dev.Close()
		return sys.File{}, fmt.Errorf("clone %s: %w", devicePath, err)
	}
	return dev, nil
}

// layout returns the size of a slot, and the number of queued ones.
func layout(version uint32) (size, queued int) {
	if version < memoryVersion {
		return oldSlotSize, 0
	}
	return slotSize, queueSize
}

func (s *Session) newMemory(init []byte, version uint32) error {
	slotSize, queued := layout(version)
	size := headerSize + (len(s.clones)+queued)*slotSize
	var err error
	if s.memory, err = sys.MemfdCreate("lxcfs-requests", size); err != nil {
		return err
	}
	if s.mem, err = s.memory.Map(size); err != nil {
		return err
	}
	h := s.header()
	h.version, h.slots, h.slotSize = version, uint32(len(s.clones)), uint32(slotSize)
	h.queued = uint32(queued)
	h.initSize = uint32(copy(h.init[:], init))
	h.magic = memoryMagic
	return nil
}

// Names of the files of a Session.
const (
	masterName    = "fuse"
	memoryName    = "requests"
	cloneName     = "clone-"
	collectorName = "collector"
)

// Files returns the files that OpenSession needs in the next process.
func (s *Session) Files() []sys.NamedFile {
	files := []sys.NamedFile{
		{Name: masterName, File: s.master}, {Name: memoryName, File: s.memory},
	}
	for i, clone := range s.clones {
		files = append(files, sys.NamedFile{Name: cloneName + strconv.Itoa(i), File: clone})
	}
	if s.collector.IsOpen() {
		files = append(files, sys.NamedFile{Name: collectorName, File: s.collector})
	}
	return files
}

// OpenSession returns the session of an earlier process from its Files, in any order. It fails if
// one is missing or the memory has another layout. Files of other names are ignored.
func OpenSession(files []sys.NamedFile) (*Session, error) {
	byName := make(map[string]sys.File)
	for _, f := range files {
		byName[f.Name] = f.File
	}
	s := &Session{
		master: byName[masterName], memory: byName[memoryName], collector: byName[collectorName],
	}
	for {
		clone := byName[cloneName+strconv.Itoa(len(s.clones))]
		if !clone.IsOpen() {
			break // openMemory knows how many there must be
		}
		s.clones = append(s.clones, clone)
	}
	if !s.master.IsOpen() || !s.memory.IsOpen() {
		return nil, errors.New("open session: device or memory missing")
	}
	return s, s.openMemory()
}

func (s *Session) openMemory() error {
	size, err := s.memory.Size()
	if err != nil {
		return err
	}
	if size < headerSize {
		return fmt.Errorf("open session: memory has %d bytes, want at least %d", size, headerSize)
	}
	if s.mem, err = s.memory.Map(int(size)); err != nil {
		return err
	}
	h := s.header()
	slotSize, queued := layout(h.version)
	want := headerSize + (len(s.clones)+queued)*slotSize
	switch {
	case h.magic != memoryMagic:
		return errors.New("open session: bad magic in memory")
	case h.version < defaultPermissionsVersion || h.version > memoryVersion:
		return fmt.Errorf("open session: unsupported version %d", h.version)
	case int(h.slotSize) != slotSize, int(h.slots) != len(s.clones), int(size) != want:
		return fmt.Errorf("open session: memory of %d bytes for %d clones, want %d bytes for %d",
			size, h.slots, want, len(s.clones))
	case s.collector.IsOpen() != (queued > 0):
		return fmt.Errorf("open session: version %d, with a collector: %v", h.version,
			s.collector.IsOpen())
	case int(h.queued) != queued, h.used.Load() > h.queued:
		return fmt.Errorf("open session: %d of %d queued slots used, want %d", h.used.Load(), h.queued,
			queued)
	case int(h.initSize) > len(h.init):
		return fmt.Errorf("open session: INIT has %d bytes", h.initSize)
	}
	return nil
}

// Answered returns the counter in shared memory of the requests that all workers have answered.
// Workers of earlier versions do not count theirs.
func (s *Session) Answered() *atomic.Uint64 { return &s.header().answered }

// KernelChecksAccess reports whether the kernel checks file modes (default_permissions), as on
// mounts of an earlier version.
func (s *Session) KernelChecksAccess() bool {
	return s.header().version == defaultPermissionsVersion
}

// HasEnded reports whether the connection is unmounted or aborted.
func (s *Session) HasEnded() bool { return s.master.HasFailed() }

func (s *Session) init() []byte {
	h := s.header()
	return slices.Clone(h.init[:h.initSize])
}

// slot returns the memory of slot i, of which the first are those of the clones.
func (s *Session) slot(i int) []byte {
	size := int(s.header().slotSize)
	at := headerSize + i*size
	return s.mem[at : at+size : at+size]
}

// queuedSlot returns the queued slot i.
func (s *Session) queuedSlot(i uint32) *slot {
	return newSlot(s.collector, s.slot(len(s.clones)+int(i)))
}

// Close closes the files. The memory stays mapped, since threads may still use it.
func (s *Session) Close() {
	s.master.Close()
	s.memory.Close()
	s.collector.Close()
	for i := range s.clones {
		s.clones[i].Close()
	}
}

const devicePath = "/dev/fuse"

// Mount mounts a new connection on the directory dir: nosuid, nodev, and accessible to every user
// (allow_other). In the mount table its source is name, and its type fuse.name. options are more
// mount options, such as "max_read=N" (Documentation/filesystems/fuse.rst). File modes are checked
// by the Handler: the kernel (default_permissions) would ask for attributes at each open(2) of a
// file whose size it must not cache. The connection lives as long as the returned device or a clone
// of it is open.
func Mount(dir, name string, options ...string) (sys.File, error) {
	dev, err := sys.OpenReadWrite(devicePath)
	if err != nil {
		return sys.File{}, fmt.Errorf("%w (is the fuse module loaded?)", err)
	}
	data := append([]string{
		fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", dev.Fd()), "allow_other",
	}, options...)
	err = sys.Mount(name, dir, "fuse."+name, sys.MountNoSuid|sys.MountNoDev,
		strings.Join(data, ","))
	if err != nil {
		dev.Close()
		return sys.File{}, err
	}
	return dev, nil
}
