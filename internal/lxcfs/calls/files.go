package calls

import (
	"errors"
	"strings"

	"palisade/internal/linux/sys"
)

// Names of files of the processes that answer calls.
const (
	memoryName = "calls"
	// readyName and freedName are event files that belong to the bitmaps of those names.
	readyName = "calls-ready"
	freedName = "calls-freed"
	// feedName is the socket by which a process gets the descriptors of filters.
	feedName = "calls-feed"
	// listenerName is the socket to which runtimes connect.
	listenerName = "calls-listener"
	// writerName is the supervisor's end of the writer's feed.
	writerName = "calls-writer"
	// lifeName is a socket that is closed when a process ends (sys.HoldInThread), in the writer and
	// in the supervisor.
	lifeName = "calls-life"
	// filterName with the number of a slot is the descriptor of a filter.
	filterName = "filter-"
)

// Numbers of messages of a feed without a descriptor. Smaller ones are slots, with a descriptor.
const (
	// leave makes a writer exit.
	leave = 1 << 32
	// stayNative makes a writer answer all calls as the kernel does, resume no longer.
	stayNative = leave + 1
	resume     = leave + 2
)

// shared is what all processes that answer calls have: the memory, and event files that wake the
// writer for the bitmap ready, and the worker for freed.
type shared struct {
	*memory
	memoryFile, readyEvent, freedEvent sys.File
}

func newShared() (s shared, err error) {
	if s.memoryFile, s.memory, err = newMemory(); err != nil {
		return s, err
	}
	if s.readyEvent, err = sys.NewEventFile(); err != nil {
		return s, err
	}
	s.freedEvent, err = sys.NewEventFile()
	return s, err
}

func (s *shared) files() []sys.NamedFile {
	return []sys.NamedFile{{Name: memoryName, File: s.memoryFile},
		{Name: readyName, File: s.readyEvent}, {Name: freedName, File: s.freedEvent}}
}

// openShared opens the files of another process's shared. It ignores files of other names.
func openShared(files []sys.NamedFile) (s shared, err error) {
	s = shared{memoryFile: find(files, memoryName), readyEvent: find(files, readyName),
		freedEvent: find(files, freedName)}
	if !s.memoryFile.IsOpen() || !s.readyEvent.IsOpen() || !s.freedEvent.IsOpen() {
		return s, errors.New("open calls: files are missing")
	}
	s.memory, err = openMemory(s.memoryFile)
	return s, err
}

// Split returns the files that belong to this package, and the others.
func Split(files []sys.NamedFile) (own, others []sys.NamedFile) {
	for _, f := range files {
		switch f.Name {
		case memoryName, readyName, freedName, listenerName, writerName, lifeName:
			own = append(own, f)
			continue
		}
		if strings.HasPrefix(f.Name, filterName) {
			own = append(own, f)
		} else {
			others = append(others, f)
		}
	}
	return own, others
}

// find returns the file with the name, which is not open if there is none.
func find(files []sys.NamedFile, name string) sys.File {
	for _, f := range files {
		if f.Name == name {
			return f.File
		}
	}
	return sys.File{}
}
