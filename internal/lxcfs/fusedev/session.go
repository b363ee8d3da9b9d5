package fusedev

import (
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
// clone of it for each thread, and memory for the request that each thread works on. While any
// process holds the files, the kernel queues new requests for the next process; requests that were
// already read are in the memory.
type Session struct {
	master sys.File
	clones []sys.File
	memory sys.File
	mem    []byte
}

// header is the beginning of the memory. Slots follow at headerSize, one for each clone. All
// numbers are in native byte order.
type header struct {
	magic           [16]byte
	version         uint32
	slots, slotSize uint32 // number and size of the slots
	initSize        uint32
	answered        atomic.Uint64 // the number of answered requests
	_               [24]byte
	init            [headerSize - 64]byte // the INIT request
}

var memoryMagic = [16]byte([]byte("palisade-fuse\x00\x00\x00"))

const (
	memoryVersion = 2
	// oldVersion differs only in that the mount has default_permissions.
	oldVersion = 1
	headerSize = 4096

	// A slot begins with a uint32, the number of processes that have found its request unanswered.
	// The request follows at requestAt; its first four bytes are its length, which the kernel
	// writes and the thread sets to 0 after the answer.
	requestAt = 64
	slotSize  = requestAt + requestSize
)

func (s *Session) header() *header { return (*header)(unsafe.Pointer(&s.mem[0])) }

// NewSession does the handshake of a connection that was just mounted. It takes ownership of
// master, and makes n clones for as many threads.
func NewSession(master sys.File, n int) (*Session, error) {
	s := &Session{master: master}
	init, err := handshake(master)
	if err == nil {
		err = s.clone(n)
	}
	if err == nil {
		err = s.newMemory(init)
	}
	if err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// handshake answers INIT, the first request of a connection, and returns the request.
func handshake(master sys.File) ([]byte, error) {
	in := make([]byte, requestSize)
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
	if _, err := master.Write(out); err != nil {
		return nil, fmt.Errorf("answer INIT: %w", err)
	}
	return in[:n], nil
}

func (s *Session) clone(n int) error {
	for range n {
		dev, err := sys.OpenReadWrite(devicePath)
		if err != nil {
			return err
		}
		s.clones = append(s.clones, dev)
		if err := dev.CloneFuse(s.master); err != nil {
			return fmt.Errorf("clone %s: %w", devicePath, err)
		}
	}
	return nil
}

func (s *Session) newMemory(init []byte) error {
	size := headerSize + len(s.clones)*slotSize
	var err error
	if s.memory, err = sys.MemfdCreate("lxcfs-requests", size); err != nil {
		return err
	}
	if s.mem, err = s.memory.Map(size); err != nil {
		return err
	}
	h := s.header()
	h.version, h.slots, h.slotSize = memoryVersion, uint32(len(s.clones)), slotSize
	h.initSize = uint32(copy(h.init[:], init))
	h.magic = memoryMagic
	return nil
}

// Names of the files of a Session.
const (
	masterName = "fuse"
	memoryName = "requests"
	cloneName  = "clone-"
)

// Files returns the files that OpenSession needs in the next process.
func (s *Session) Files() []sys.NamedFile {
	files := []sys.NamedFile{
		{Name: masterName, File: s.master}, {Name: memoryName, File: s.memory},
	}
	for i, clone := range s.clones {
		files = append(files, sys.NamedFile{Name: cloneName + strconv.Itoa(i), File: clone})
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
	s := &Session{master: byName[masterName], memory: byName[memoryName]}
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
	h, want := s.header(), headerSize+len(s.clones)*slotSize
	switch {
	case h.magic != memoryMagic:
		return errors.New("open session: bad magic in memory")
	case h.version != memoryVersion && h.version != oldVersion:
		return fmt.Errorf("open session: unsupported version %d", h.version)
	case h.slotSize != slotSize, int(h.slots) != len(s.clones), int(size) != want:
		return fmt.Errorf("open session: memory of %d bytes for %d clones, want %d bytes for %d",
			size, h.slots, want, len(s.clones))
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
func (s *Session) KernelChecksAccess() bool { return s.header().version == oldVersion }

// HasEnded reports whether the connection is unmounted or aborted.
func (s *Session) HasEnded() bool { return s.master.HasFailed() }

func (s *Session) init() []byte {
	h := s.header()
	return slices.Clone(h.init[:h.initSize])
}

func (s *Session) slot(i int) []byte {
	at := headerSize + i*slotSize
	return s.mem[at : at+slotSize : at+slotSize]
}

// Close closes the files. The memory stays mapped, since threads may still use it.
func (s *Session) Close() {
	s.master.Close()
	s.memory.Close()
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
