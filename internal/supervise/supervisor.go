package supervise

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"palisade/internal/meter"
	"palisade/internal/sys"
)

// Supervisor keeps a worker alive. Its fields do not change while it runs.
type Supervisor struct {
	// Program is the path of the program on disk, from which upgrades are taken, Args its command line.
	Program string
	Args    []string
	// Spawner starts the workers.
	Spawner *sys.Spawner
	// Files are passed to each worker.
	Files []sys.NamedFile
	// Dir is the folder for the socket on which workers tell how they do.
	Dir string
	// Answered is the number of requests that all workers have answered.
	Answered *atomic.Uint64
	// Probe reads a served file, and fails with context.DeadlineExceeded on a timeout. It is used only
	// for workers of earlier versions, since a reply may also be late because of other readers.
	Probe func(context.Context) error
	// Meter counts workers that are replaced.
	Meter *meter.Meter
	// Upgraded, if it is not nil, is called when a worker of another program serves.
	Upgraded func()
	Log      *slog.Logger

	// threads reads the threads of a process; tests replace it.
	threads func(pid int) []threadTimes

	answered      uint64 // the value of Answered at the last check
	socket        string
	image         sys.File // the program of the last worker that served
	current, next *process
	toggled       bool // how the worker has to be told to be
	failures      int
	exits         chan exit
	probed        chan error // non-nil while a probe is under way
	started       bool       // a worker has been ready
	ending        bool
	restart       <-chan time.Time
}

const (
	// settled is how long a worker must have served for its end not to be a failure of its own.
	settled = time.Second
	// quickRestarts is after how many failures in a row the next worker has to wait, maxFailures after how many there is
	// no next one. That takes some seconds.
	quickRestarts = 3
	maxFailures   = 15
	firstDelay    = 10 * time.Millisecond
	maxDelay      = time.Second
)

// Errors of Run.
var (
	// ErrGaveUp: no worker lives.
	ErrGaveUp = errors.New("no worker lives")
	// ErrNoStart: not even the first worker has become ready. It has said why.
	ErrNoStart = errors.New("the worker does not start")
	// ErrOver: the worker found that there is nothing to serve any more.
	ErrOver = errors.New("there is nothing to serve any more")
)

// Event is what a Supervisor is told from outside.
type Event int

// Events.
const (
	// Upgrade: replace the worker by one of the program on disk.
	Upgrade Event = iota
	// Switch: tell the worker Toggle, and those after it to be the same.
	Switch
	// End: have the worker leave, and end.
	End
)

// Run starts a worker and keeps one alive until the End. ready is called when the first worker serves.
func (s *Supervisor) Run(events <-chan Event, ready func()) error {
	dir, err := sys.OpenDir(s.Dir)
	if err != nil {
		return err
	}
	defer dir.Close()
	s.socket = dir.Path() + "/notify" // the name of a socket is short
	notifications, err := sys.ReceiveNotifications(s.socket)
	if err != nil {
		return err
	}
	if s.image, err = sys.OpenPath("/proc/self/exe"); err != nil {
		return err
	}
	if s.threads == nil {
		proc, err := sys.OpenDir("/proc")
		if err != nil {
			return err
		}
		defer proc.Close()
		s.threads = func(pid int) []threadTimes { return readThreads(proc, pid) }
	}
	s.exits = make(chan exit)
	s.startCurrent()
	for tick := time.Tick(checkInterval); ; {
		select {
		case n := <-notifications:
			if s.hear(n) && ready != nil {
				ready()
				ready = nil
			}
		case e := <-s.exits:
			if over, err := s.ended(e); over {
				return err
			}
		case <-s.restart:
			s.startCurrent()
		case e := <-events:
			if over := s.handle(e); over {
				return nil
			}
		case <-tick:
			if over := s.watch(); over {
				return nil
			}
		case err := <-s.probed:
			s.probed = nil
			if errors.Is(err, context.DeadlineExceeded) && s.current != nil && s.current.serving {
				s.kill(s.current, "the worker does not answer")
			}
		}
	}
}

// startCurrent starts a worker where there is none.
func (s *Supervisor) startCurrent() {
	s.restart = nil
	var err error
	if s.current, err = s.start(s.image, s.exits); err != nil {
		s.Log.Error("the worker does not start", "err", err)
		s.current = nil
		s.failures++
		s.restart = time.After(maxDelay)
	}
}

// hear takes in what a worker tells, and returns whether it is that it serves.
func (s *Supervisor) hear(n sys.Notification) bool {
	has := func(line string) bool { return strings.Contains("\n"+n.Text+"\n", "\n"+line+"\n") }
	for _, w := range []*process{s.current, s.next} {
		switch {
		case w == nil || w.Pid != n.PID:
		case has(serving):
			w.serving, w.served = true, time.Now()
			s.Meter.Up(true)
			s.Log.Info("the worker serves", "pid", w.Pid)
			return true
		case has(alive):
			w.isAlive = true
		case has("READY=1"):
			w.ready, w.answersPing, s.started = true, has(pingSupport), true
			w.silent, w.cpu = 0, nil
			if w == s.current {
				s.letServe(w)
			} else {
				s.promote()
			}
		}
	}
	return false
}

func (s *Supervisor) letServe(w *process) {
	if s.toggled {
		w.tell(Toggle) // first: no read gets the other text
	}
	w.tell(Serve)
}

// ended takes in that a worker has ended. It tells whether that is the end of all.
func (s *Supervisor) ended(e exit) (over bool, err error) {
	e.pipe.Close()
	if e.process == s.next {
		s.giveUpNext("ended", "state", e.state)
		return false, nil
	}
	if e.process != s.current {
		return false, nil // it was given up before
	}
	switch handled, over := s.lose(); {
	case handled:
		return over, nil
	case e.state != nil && e.state.Success() && e.leaving.IsZero():
		return true, ErrOver
	}
	return s.replace(e)
}

// lose takes in that the current worker serves no more. It tells whether no worker need be started for it, and whether that is the
// end of all.
func (s *Supervisor) lose() (handled, over bool) {
	s.current = nil
	s.Meter.Up(false)
	switch {
	case s.ending:
		return true, true
	case s.next != nil && s.next.ready:
		s.promote()
		return true, false
	}
	return false, false
}

// replace starts a worker for one that died.
func (s *Supervisor) replace(e exit) (over bool, err error) {
	if !s.started && e.state != nil && e.state.Exited() {
		return true, ErrNoStart
	}
	if e.isFailure() {
		s.failures++
	} else {
		s.failures = 0
	}
	s.Log.Warn("the worker ended", "pid", e.Pid, "state", e.state, "failures", s.failures)
	switch {
	case s.failures > maxFailures:
		return true, ErrGaveUp
	case s.failures > quickRestarts:
		s.restart = time.After(min(firstDelay<<(s.failures-quickRestarts), maxDelay))
	default:
		s.startCurrent()
	}
	s.Meter.Replaced(e.reason())
	return false, nil
}

// handle does what is wanted from outside, and tells whether that is the end.
func (s *Supervisor) handle(e Event) (over bool) {
	switch e {
	case Upgrade:
		s.upgrade()
	case Switch:
		s.toggled = !s.toggled
		s.Log.Warn("SIGUSR2 has switched what containers read", "to_host_files", s.toggled)
		if s.current != nil && s.current.ready {
			s.current.tell(Toggle)
		}
	case End:
		s.ending = true
		if s.current == nil {
			return true
		}
		s.leave(s.current)
	}
	return false
}
