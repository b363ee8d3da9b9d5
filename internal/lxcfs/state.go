package lxcfs

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"palisade/internal/account"
	"palisade/internal/container"
	"palisade/internal/procfs"
	"palisade/internal/sys"
)

// saveEvery is how often the state of the containers is kept for the next daemon. What is lost with a daemon that is
// killed is made up for: the idle time goes on from the last state with the time that has passed.
const saveEvery = time.Second

type knownContainer = container.Container[guest]

// savedState is the counters of all containers that the kernel does not keep, in a file that does not outlive the
// machine's next start, as the containers do not.
type savedState struct {
	path string
	// changed tells that there may be something new to write.
	changed atomic.Bool

	mu      sync.Mutex
	waiting map[stateKey]savedGuest // what the last daemon knew and nobody has asked for since
}

// stateKey recognises a container after a restart of the daemon.
type stateKey struct {
	PIDNamespace uint64
	PID          int
	Start        time.Duration
}

// savedGuest is a guest in the file.
type savedGuest struct {
	stateKey
	Clock   account.CPUClock
	Load    account.Load
	Sampled time.Duration
	LastPID int
}

func keyOf(c *knownContainer) stateKey { return stateKey{c.PIDNamespace(), c.InitPID(), c.Start()} }

// loadState reads the file that the last daemon left. One that is missing, or not to be understood, is no state.
func loadState(path string, proc sys.File, log *slog.Logger) *savedState {
	s := &savedState{path: path, waiting: make(map[stateKey]savedGuest)}
	if path == "" {
		return s
	}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return s
	}
	var guests []savedGuest
	if err == nil {
		err = json.Unmarshal(text, &guests)
	}
	if err != nil {
		log.Warn("idle times and loads of containers start anew", "err", fmt.Errorf("read %s: %w", path, err))
		return s
	}
	for _, g := range guests {
		if g.isRunning(proc) {
			s.waiting[g.stateKey] = g
		}
	}
	return s
}

// isRunning tells whether the process that the state is of is still there.
func (k stateKey) isRunning(proc sys.File) bool {
	text, err := proc.ReadFileAt(strconv.Itoa(k.PID)+"/stat", nil)
	if err != nil {
		return false
	}
	stat, err := procfs.ParseTaskStat(text)
	return err == nil && stat.Start == k.Start
}

// restore gives g, the new state of c, what the last daemon knew.
func (s *savedState) restore(c *knownContainer, g *guest) {
	s.mu.Lock()
	old, ok := s.waiting[keyOf(c)]
	delete(s.waiting, keyOf(c))
	s.mu.Unlock()
	if !ok {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.clock, g.load, g.sampled = old.Clock, old.Load, old.Sampled
	g.count.tasks.LastPID = old.LastPID
}

// SaveState writes the state of all containers, if it may have changed since it was written last.
func (f *FS) SaveState() error {
	if f.state.path == "" || !f.state.changed.Swap(false) {
		return nil
	}
	var guests []savedGuest
	for _, c := range f.finder.All() {
		g := f.guest(c)
		g.mu.Lock()
		guests = append(guests, savedGuest{keyOf(c), g.clock.Clone(), g.load, g.sampled, g.count.tasks.LastPID})
		g.mu.Unlock()
		c.Release()
	}
	return f.state.write(guests)
}

// write replaces the file by the state of guests and of those that wait.
func (s *savedState) write(guests []savedGuest) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range s.waiting {
		guests = append(guests, g)
	}
	text, err := json.Marshal(guests)
	if err == nil {
		err = sys.ReplaceFile(s.path, text, nil)
	}
	if err != nil {
		s.changed.Store(true)
		return fmt.Errorf("keep the state of containers: %w", err)
	}
	return nil
}
