package supervise

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"palisade/internal/linux/sys"
	"palisade/internal/lxcfs/meter"
)

// Supervisor keeps a worker alive. Its exported fields must not change while it runs.
type Supervisor struct {
	// Program is the path of the program that upgrades start, Args its command line.
	Program string
	Args    []string
	// Spawner starts the workers.
	Spawner *sys.Spawner
	// Files are passed to each worker.
	Files []sys.NamedFile
	// NewFeed, unless it is nil, is called for each worker that is started. It returns a Feed, and
	// more files for the worker, of which the first is closed when the worker has them.
	NewFeed func() (Feed, []sys.NamedFile, error)
	// Dir is the directory for the notification socket of the workers.
	Dir string
	// Answered is the number of requests that all workers have answered.
	Answered *atomic.Uint64
	// Probe reads a served file, and fails with context.DeadlineExceeded on a timeout. It is used
	// only for workers of earlier versions, since a reply may also be late because of other
	// readers.
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
	toggled       bool // an odd number of Switch events has arrived
	failures      int
	exits         chan exit
	probed        chan error // non-nil while a probe is under way
	started       bool       // a worker has been ready
	ending        bool
	restart       <-chan time.Time
}

// Feed passes more files to a worker. Its methods do not block.
type Feed interface {
	// Start begins to pass files, when the worker begins to serve.
	Start()
	// Close is called when the worker has ended.
	Close(hasCrashed bool)
}

const (
	// settled is the time after which the end of a serving worker is no failure to start.
	settled = time.Second
	// After quickRestarts consecutive failures, the next worker is delayed; after maxFailures,
	// which takes some seconds, the supervisor gives up.
	quickRestarts = 3
	maxFailures   = 15
	firstDelay    = 10 * time.Millisecond
	maxDelay      = time.Second
)

// Errors of Run.
var (
	// ErrGaveUp: too many workers failed in a row.
	ErrGaveUp = errors.New("too many workers failed")
	// ErrNoStart: the first worker exited before it was ready. It has logged the reason.
	ErrNoStart = errors.New("worker did not start")
	// ErrOver: the worker exited because its files are no longer served, as after umount.
	ErrOver = errors.New("session has ended")
)

// Event is a request to a Supervisor.
type Event int

// Events.
const (
	// Upgrade: replace the worker by one of the program on disk.
	Upgrade Event = iota
	// Switch: send Toggle to the worker, and keep later workers in the same state.
	Switch
	// End: make the worker leave, and return from Run.
	End
)

// Run starts a worker and keeps one alive until End. It calls ready when the first worker serves.
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
			if s.handleNotification(n) && ready != nil {
				ready()
				ready = nil
			}
		case e := <-s.exits:
			if done, err := s.handleExit(e); done {
				return err
			}
		case <-s.restart:
			s.startCurrent()
		case e := <-events:
			if done := s.handleEvent(e); done {
				return nil
			}
		case <-tick:
			if done := s.watch(); done {
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

// handleNotification handles a message of a worker, and reports whether the worker now serves.
func (s *Supervisor) handleNotification(n sys.Notification) bool {
	has := func(line string) bool { return strings.Contains("\n"+n.Text+"\n", "\n"+line+"\n") }
	for _, w := range []*process{s.current, s.next} {
		switch {
		case w == nil || w.Pid != n.PID:
		case has(Serving):
			w.serving, w.served = true, time.Now()
			s.Meter.WorkerUp.Store(1)
			s.Log.Info("the worker serves", "pid", w.Pid)
			return true
		case has(Alive):
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
	if w.feed != nil {
		w.feed.Start()
	}
}

// handleExit handles the end of a worker, and reports whether Run must return.
func (s *Supervisor) handleExit(e exit) (done bool, err error) {
	e.pipe.Close()
	if e.feed != nil {
		e.feed.Close(e.hasCrashed())
	}
	if e.process == s.next {
		s.abandonUpgrade("ended", "state", e.state)
		return false, nil
	}
	if e.process != s.current {
		return false, nil // abandoned before
	}
	switch handled, done := s.clearCurrent(); {
	case handled:
		return done, nil
	case e.state != nil && e.state.Success() && e.leaving.IsZero():
		return true, ErrOver
	}
	return s.replace(e)
}

// clearCurrent handles that the current worker no longer serves. It reports whether no new worker
// is needed, and whether Run must return.
func (s *Supervisor) clearCurrent() (handled, done bool) {
	s.current = nil
	s.Meter.WorkerUp.Store(0)
	switch {
	case s.ending:
		return true, true
	case s.next != nil && s.next.ready:
		s.promote()
		return true, false
	}
	return false, false
}

// replace starts a worker in place of one that died, and reports whether Run must return.
func (s *Supervisor) replace(e exit) (done bool, err error) {
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

// handleEvent handles a request, and reports whether Run must return.
func (s *Supervisor) handleEvent(e Event) (done bool) {
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

// exit is the end of a process.
type exit struct {
	*process
	state *os.ProcessState
}

func (e exit) reason() meter.Reason {
	switch {
	case !e.killed.IsZero():
		return meter.Hung
	case e.isKilled():
		return meter.Killed
	}
	return meter.Crashed
}

func (e exit) isKilled() bool {
	if e.state == nil {
		return false
	}
	status, ok := e.state.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGKILL
}

// hasCrashed reports whether the worker ended by itself, or because it did not answer.
func (e exit) hasCrashed() bool {
	return e.leaving.IsZero() && (!e.isKilled() || !e.killed.IsZero())
}

// isFailure reports whether the worker ended before it served, or within the time settled after
// that and not by SIGKILL.
func (e exit) isFailure() bool {
	if !e.serving {
		return true
	}
	return !e.isKilled() && time.Since(e.served) < settled
}

// upgrade starts a worker of the program on disk beside the current one, which leaves when the new
// one is ready.
func (s *Supervisor) upgrade() {
	if s.next != nil {
		s.Log.Warn("an upgrade is already in progress")
		return
	}
	image, err := sys.OpenPath(s.Program)
	if err == nil {
		s.next, err = s.start(image, s.exits)
	}
	if err != nil {
		image.Close()
		s.next = nil
		s.Log.Error("the upgrade is given up", "err", err)
	}
}

// promote makes the new worker the current one, or makes the current one leave first.
func (s *Supervisor) promote() {
	if s.current != nil {
		s.leave(s.current)
		return
	}
	s.current, s.next, s.restart = s.next, nil, nil
	s.image.Close()
	s.image = s.current.image
	s.letServe(s.current)
	s.Meter.Replaced(meter.Upgraded)
	if s.Upgraded != nil {
		s.Upgraded()
	}
}

func (s *Supervisor) abandonUpgrade(why string, args ...any) {
	s.Log.Error("the upgrade is given up: the new worker "+why,
		append([]any{"pid", s.next.Pid}, args...)...)
	s.next.image.Close()
	s.next = nil
}
