package supervise

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"syscall"
	"time"

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
	// Probe asks what is served, and fails with context.DeadlineExceeded where there is no answer in time.
	Probe func(context.Context) error
	Log   *slog.Logger

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
	// probeEvery is how often the worker is asked, probeTime how long it may take.
	probeEvery = time.Second
	probeTime  = 2 * time.Second
	// startTime is how long a worker may take to be ready, leaveTime to leave.
	startTime = 10 * time.Second
	leaveTime = 2 * time.Second
	// dyingTime is how long a worker that was killed may take to end.
	dyingTime = 2 * time.Second
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
	s.exits = make(chan exit)
	s.startCurrent()
	for tick := time.Tick(probeEvery); ; {
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
			s.watch()
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
			s.Log.Info("the worker serves", "pid", w.Pid)
			return true
		case has("READY=1"):
			w.ready, s.started = true, true
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
	w.tell(Serve)
	if s.toggled {
		w.tell(Toggle)
	}
}

// promote puts the worker of the upgrade, which is ready, in the place of the current one, when that has left.
func (s *Supervisor) promote() {
	if s.current != nil {
		s.leave(s.current)
		return
	}
	s.current, s.next, s.restart = s.next, nil, nil
	s.image.Close()
	s.image = s.current.image
	s.letServe(s.current)
}

// leave has a worker leave.
func (s *Supervisor) leave(w *process) {
	w.leaving = true
	w.tell(Leave)
	time.AfterFunc(leaveTime, func() { w.Kill() }) // to no effect, if it has left
}

// kill ends a worker that is of no use.
func (s *Supervisor) kill(w *process, why string) {
	s.Log.Error(why+": it is killed", "pid", w.Pid)
	w.Kill() // its end is told
	if w.killed.IsZero() {
		w.killed = time.Now()
	}
}

// ended takes in that a worker has ended. It tells whether that is the end of all.
func (s *Supervisor) ended(e exit) (over bool, err error) {
	e.pipe.Close()
	if e.process == s.next {
		s.Log.Error("the upgrade is given up: the new worker ended", "pid", e.Pid, "state", e.state)
		s.next = nil
		return false, nil
	}
	if e.process != s.current {
		return false, nil // it was given up before
	}
	s.current = nil
	switch {
	case s.ending:
		return true, nil
	case s.next != nil && s.next.ready:
		s.promote()
		return false, nil
	case e.state != nil && e.state.Success() && !e.leaving:
		return true, ErrOver
	}
	return s.replace(e)
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
	return false, nil
}

// isFailure tells whether the worker died of itself, soon after it had begun, or before. One that is killed by somebody is
// none.
func (e exit) isFailure() bool {
	if !e.serving {
		return true
	}
	if e.state != nil {
		if status, ok := e.state.Sys().(syscall.WaitStatus); ok && status.Signaled() && status.Signal() == syscall.SIGKILL {
			return false
		}
	}
	return time.Since(e.served) < settled
}

// handle does what is wanted from outside, and tells whether that is the end.
func (s *Supervisor) handle(e Event) (over bool) {
	switch e {
	case Upgrade:
		s.upgrade()
	case Switch:
		s.toggled = !s.toggled
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

// upgrade starts a worker of the program on disk beside the one that serves, which is told to leave when the new one is
// ready.
func (s *Supervisor) upgrade() {
	if s.next != nil {
		s.Log.Warn("an upgrade is under way already")
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

// watch looks after workers that take too long.
func (s *Supervisor) watch() {
	for _, w := range []*process{s.current, s.next} {
		if w != nil && !w.ready && time.Since(w.started) > startTime {
			s.kill(w, "the worker does not become ready")
		}
	}
	if w := s.current; w != nil && !w.killed.IsZero() && time.Since(w.killed) > dyingTime {
		// One of its threads is stuck in the kernel. It will do nothing more, and the next one need not wait for it.
		s.Log.Warn("the worker does not die: the next one takes over", "pid", w.Pid)
		s.current = nil
		s.startCurrent()
		return
	}
	if s.probed != nil || s.current == nil || !s.current.serving || s.current.leaving {
		return
	}
	probed := make(chan error, 1)
	s.probed = probed
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), probeTime)
		defer cancel()
		probed <- s.Probe(ctx)
	}()
}
