package fusedev

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/hanwen/go-fuse/v2/fuse"

	"palisade/internal/sys"
)

// Session is what a connection needs to outlive the process that serves it: the device, a clone of it for each thread, and
// memory for the request that each thread works on. As long as somebody holds them, requests wait for the next process,
// and those that the last one had begun with lie in the memory.
type Session struct {
	master sys.File
	clones []sys.File
	memory sys.File
	mem    []byte
}

// The memory begins with a page that says what it is; a slot for each clone follows. All numbers are in the byte order of
// the machine.
const (
	memoryMagic   = "palisade-fuse\x00"
	memoryVersion = 2
	// oldVersion is that of mounts with default_permissions; all else is the same.
	oldVersion = 1
	headerSize = 4096

	// In the header, behind the magic:
	versionAt  = 16 // uint32
	slotsAt    = 20 // uint32, the number of slots
	slotSizeAt = 24 // uint32
	initSizeAt = 28 // uint32, the size of the INIT request
	answeredAt = 32 // uint64, the number of answered requests
	initAt     = 64

	// A slot begins with the number of processes that have found its request unanswered; the request follows. Its first
	// four bytes are its length, which the kernel writes and who answers makes 0.
	requestAt = 64
	slotSize  = requestAt + requestSize
)

// NewSession does the handshake of a connection that has just been mounted, and takes over its device. At most n threads
// will serve it.
func NewSession(master sys.File, n int) (*Session, error) {
	s := &Session{master: master}
	init, err := handshake(master)
	if err == nil {
		err = s.clone(n)
	}
	if err == nil {
		err = s.makeMemory(init)
	}
	if err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// handshake reads INIT, the first request of a new connection, and answers it. It returns the request.
func handshake(master sys.File) ([]byte, error) {
	in := make([]byte, requestSize)
	n, err := master.Read(in)
	if err != nil {
		return nil, fmt.Errorf("read INIT: %w", err)
	}
	if n > headerSize-initAt {
		return nil, fmt.Errorf("read INIT: it has %d bytes", n)
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

func (s *Session) makeMemory(init []byte) error {
	size := headerSize + len(s.clones)*slotSize
	var err error
	if s.memory, err = sys.MemfdCreate("lxcfs-requests", size); err != nil {
		return err
	}
	if s.mem, err = s.memory.Map(size); err != nil {
		return err
	}
	put := func(at, n int) { binary.NativeEndian.PutUint32(s.mem[at:], uint32(n)) }
	put(versionAt, memoryVersion)
	put(slotsAt, len(s.clones))
	put(slotSizeAt, slotSize)
	put(initSizeAt, len(init))
	copy(s.mem[initAt:headerSize], init)
	copy(s.mem, memoryMagic)
	return nil
}

// Names of a Session's files.
const (
	masterName = "fuse"
	memoryName = "requests"
	cloneName  = "clone-"
)

// Files are the session's files by name, for another process.
func (s *Session) Files() []sys.NamedFile {
	files := []sys.NamedFile{{Name: masterName, File: s.master}, {Name: memoryName, File: s.memory}}
	for i, clone := range s.clones {
		files = append(files, sys.NamedFile{Name: cloneName + strconv.Itoa(i), File: clone})
	}
	return files
}

// OpenSession takes over the session that consists of files, in any order. It fails where one is missing, or where another
// version of this program has made the memory otherwise; files of other names are left alone.
func OpenSession(files []sys.NamedFile) (*Session, error) {
	s := new(Session)
	clones := make(map[int]sys.File)
	for _, f := range files {
		switch number, isClone := strings.CutPrefix(f.Name, cloneName); {
		case f.Name == masterName:
			s.master = f.File
		case f.Name == memoryName:
			s.memory = f.File
		case isClone:
			i, err := strconv.Atoi(number)
			if err != nil {
				return nil, fmt.Errorf("take over a session: file %q: %w", f.Name, err)
			}
			clones[i] = f.File
		}
	}
	if !s.master.IsOpen() || !s.memory.IsOpen() || len(clones) == 0 {
		return nil, errors.New("take over a session: the device, its memory or its clones are missing")
	}
	for i := range len(clones) {
		if !clones[i].IsOpen() {
			return nil, fmt.Errorf("take over a session: file %s%d is missing", cloneName, i)
		}
		s.clones = append(s.clones, clones[i])
	}
	return s, s.openMemory()
}

func (s *Session) openMemory() error {
	size, err := s.memory.Size()
	if err != nil {
		return err
	}
	if size < headerSize {
		return fmt.Errorf("take over a session: its memory has %d bytes", size)
	}
	if s.mem, err = s.memory.Map(int(size)); err != nil {
		return err
	}
	get := func(at int) int { return int(u32(s.mem, at)) }
	switch {
	case string(s.mem[:len(memoryMagic)]) != memoryMagic,
		get(versionAt) != memoryVersion && get(versionAt) != oldVersion:
		return errors.New("take over a session: its memory is of another version")
	case get(slotSizeAt) != slotSize || get(slotsAt) != len(s.clones) || int(size) != headerSize+len(s.clones)*slotSize:
		return fmt.Errorf("take over a session: its memory has %d bytes for %d clones", size, len(s.clones))
	case get(initSizeAt) > headerSize-initAt:
		return errors.New("take over a session: INIT is too long")
	}
	return nil
}

// Answered returns the number of requests that all workers have answered, in shared memory. Workers
// of earlier versions do not count theirs.
func (s *Session) Answered() *atomic.Uint64 { return sys.Uint64In(s.mem[answeredAt:]) }

// KernelChecksAccess reports whether the kernel checks the modes of files, on a mount that an
// earlier version of this program has made.
func (s *Session) KernelChecksAccess() bool { return u32(s.mem, versionAt) == oldVersion }

// HasEnded tells whether the connection is over: nobody has its file system mounted any more, or it was aborted.
func (s *Session) HasEnded() bool { return s.master.HasFailed() }

// init is the INIT request.
func (s *Session) init() []byte {
	return slices.Clone(s.mem[initAt : initAt+u32(s.mem, initSizeAt)])
}

// slot is the memory of thread i.
func (s *Session) slot(i int) []byte {
	at := headerSize + i*slotSize
	return s.mem[at : at+slotSize : at+slotSize]
}

// Close closes the files. The memory stays mapped: threads may still be at work with it.
func (s *Session) Close() {
	s.master.Close()
	s.memory.Close()
	for i := range s.clones {
		s.clones[i].Close()
	}
}
