package supervise

import (
	"context"
	"log/slog"
	"os/exec"
	"sync/atomic"
	"testing"
	"time"

	"palisade/internal/linux/sys"
	"palisade/internal/lxcfs/meter"
)

// newSupervisor is one whose workers are made by newProcess, and that is asked nothing.
func newSupervisor() *Supervisor {
	return &Supervisor{
		Log: slog.New(slog.DiscardHandler), Answered: new(atomic.Uint64),
		Meter:   meter.NewPrivate(),
		Probe:   func(context.Context) error { return nil },
		threads: func(int) []threadTimes { return nil },
	}
}

// newProcess starts a worker and returns it with the read end of its command pipe. It does not wait
// for the worker, so that its supervisor does not see it end.
func newProcess(t *testing.T) (p *process, told sys.File) {
	t.Helper()
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r, w, err := sys.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	image, err := sys.OpenPath("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	p = &process{Process: cmd.Process, pipe: w, image: image}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait() // it was killed
		r.Close()
		p.pipe.Close()
		p.image.Close()
	})
	return p, r
}

// hears returns what a worker has been told last.
func hears(t *testing.T, told sys.File) Command {
	t.Helper()
	var b [1]byte
	if n, err := told.Read(b[:]); n != 1 || err != nil {
		t.Fatalf("it was told nothing: %v", err)
	}
	return Command(b[0])
}

const longAgo = -time.Minute

// TestSignsOfLife checks workers with and without signs of life.
func TestSignsOfLife(t *testing.T) {
	const looks = int(probeTime / checkInterval)
	tests := []struct {
		name string
		sign func(s *Supervisor, w *process)
		want bool
	}{
		{"it answers the question", func(s *Supervisor, w *process) {
			s.handleNotification(sys.Notification{PID: w.Pid, Text: Alive})
		}, true},
		{"it answers requests, but no question", func(s *Supervisor, _ *process) {
			s.Answered.Add(1)
		}, true},
		{"another process answers", func(s *Supervisor, w *process) {
			s.handleNotification(sys.Notification{PID: w.Pid + 1, Text: Alive})
		}, false},
		{"none", func(*Supervisor, *process) {}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newSupervisor()
			w, told := newProcess(t)
			s.current = w
			s.handleNotification(sys.Notification{PID: w.Pid, Text: "READY=1\n" + pingSupport})
			if got := hears(t, told); got != Serve {
				t.Fatalf("it is told %q first", got)
			}
			s.handleNotification(sys.Notification{PID: w.Pid, Text: Serving})
			for look := 1; look <= 3*looks && w.killed.IsZero(); look++ {
				s.watch()
				if !w.killed.IsZero() {
					if look < looks {
						t.Errorf("it is killed at look %d of %d", look, looks)
					}
					break
				}
				if got := hears(t, told); got != Ping {
					t.Errorf("look %d: it is told %q", look, got)
				}
				tt.sign(s, w)
			}
			if isAlive := w.killed.IsZero(); isAlive != tt.want {
				t.Errorf("it is left alive: %v, want %v", isAlive, tt.want)
			}
		})
	}
}

// TestWorkerWithoutPing probes a worker of an earlier version with reads.
func TestWorkerWithoutPing(t *testing.T) {
	s := newSupervisor()
	asked := make(chan struct{}, 1)
	s.Probe = func(context.Context) error {
		asked <- struct{}{}
		return nil
	}
	s.current, _ = newProcess(t)
	s.handleNotification(sys.Notification{PID: s.current.Pid, Text: "READY=1"})
	s.handleNotification(sys.Notification{PID: s.current.Pid, Text: Serving})
	s.watch()
	<-asked
	if err := <-s.probed; err != nil {
		t.Error(err)
	}
}

// TestStuckWorkerIsUpgraded has a worker that is told to leave for the next one, does not, and does
// not die either.
func TestStuckWorkerIsUpgraded(t *testing.T) {
	s := newSupervisor()
	current, toldCurrent := newProcess(t)
	next, toldNext := newProcess(t)
	current.ready, current.serving = true, true
	s.current, s.next = current, next
	s.handleNotification(sys.Notification{PID: next.Pid, Text: "READY=1"})
	if got := hears(t, toldCurrent); got != Leave || !current.killed.IsZero() {
		t.Fatalf("it is told %q, and killed at %v", got, current.killed)
	}
	if s.watch(); !current.killed.IsZero() {
		t.Error("it is killed before it can leave")
	}
	current.leaving = time.Now().Add(longAgo)
	if s.watch(); current.killed.IsZero() || s.current != current {
		t.Fatal("it is not killed, though it does not leave")
	}
	current.killed = time.Now().Add(longAgo)
	if done := s.watch(); done || s.current != next || s.next != nil {
		t.Fatalf("the next one has not taken over: done is %v", done)
	}
	if got := hears(t, toldNext); got != Serve {
		t.Errorf("the next one is told %q", got)
	}
	if done, err := s.handleExit(exit{process: current}); done || err != nil || s.current != next {
		t.Errorf("its late end ends the next one: %v, %v", done, err)
	}
}

// TestStuckWorkerEnds makes a stuck worker leave.
func TestStuckWorkerEnds(t *testing.T) {
	s := newSupervisor()
	s.current, _ = newProcess(t)
	if s.handleEvent(End) || s.watch() {
		t.Fatal("it is not waited for")
	}
	s.current.killed = time.Now().Add(longAgo)
	if !s.watch() {
		t.Error("it is waited for, though it does not die")
	}
}

// TestUpgradeIsGivenUp has the next worker end, or be stuck, before it is ready: the current one
// stays, and its program is closed.
func TestUpgradeIsGivenUp(t *testing.T) {
	for name, end := range map[string]func(s *Supervisor){
		"ended": func(s *Supervisor) {
			if done, err := s.handleExit(exit{process: s.next}); done || err != nil {
				t.Errorf("done: %v, %v", done, err)
			}
		},
		"stuck": func(s *Supervisor) {
			s.next.silent = startTime
			if s.watch(); s.next.killed.IsZero() {
				t.Error("it is not killed")
			}
			s.next.killed = time.Now().Add(longAgo)
			s.watch()
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSupervisor()
			current, _ := newProcess(t)
			current.ready = true
			next, _ := newProcess(t)
			s.current, s.next = current, next
			end(s)
			if s.current != current || s.next != nil {
				t.Error("the upgrade continues")
			}
			if next.image.IsOpen() {
				t.Error("the program is still open")
			}
		})
	}
}

// TestEvents sends events to a supervisor with and without workers.
func TestEvents(t *testing.T) {
	s := newSupervisor()
	s.Program = "/missing"
	if s.handleEvent(Upgrade) || s.next != nil {
		t.Error("an upgrade to a missing program continues")
	}
	if !s.handleEvent(End) {
		t.Error("End without a worker does not end")
	}
	s.ending = false
	current, toldCurrent := newProcess(t)
	next, toldNext := newProcess(t)
	s.current, s.next, current.ready = current, next, true
	if s.handleEvent(Upgrade) || s.next != next {
		t.Error("a second upgrade replaces the first")
	}
	if s.handleEvent(Switch) || hears(t, toldCurrent) != Toggle {
		t.Error("the worker is not switched")
	}
	next.ready = true
	if done, err := s.handleExit(exit{process: current}); done || err != nil {
		t.Errorf("done: %v, %v", done, err)
	}
	if s.current != next || hears(t, toldNext) != Toggle || hears(t, toldNext) != Serve {
		t.Error("the next worker does not take over in the same state")
	}
	if s.handleEvent(End) || hears(t, toldNext) != Leave {
		t.Error("the worker is not told to leave")
	}
	if done, err := s.handleExit(exit{process: next}); !done || err != nil {
		t.Errorf("the end of the last worker: %v, %v", done, err)
	}
}
