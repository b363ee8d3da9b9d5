package supervise

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"palisade/internal/linux/sys"
	"palisade/internal/lxcfs/meter"
)

// TestMain also runs as the workers of the tests.
func TestMain(m *testing.M) {
	if IsWorker() {
		os.Exit(runWorker(os.Args[1]))
	}
	os.Exit(m.Run())
}

// runWorker is a worker that serves, crashes at its start, or exits at the command Serve.
func runWorker(mode string) int {
	w, err := Connect()
	if err != nil || mode == "crash" {
		return 3
	}
	if w.Tell(Ready) != nil {
		return 3
	}
	for c := range w.Commands() {
		switch {
		case c == Leave:
			return 0
		case c == Serve && mode == "exit":
			return 0
		case c == Serve:
			err = w.Tell(Serving)
		case c == Ping:
			err = w.Tell(Alive)
		}
		if err != nil {
			return 3
		}
	}
	return 0
}

func newTestSpawner(t *testing.T) *sys.Spawner {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("dropping capabilities needs root")
	}
	// Workers reach the notification socket through the supervisor's directory in /proc.
	spawner, err := sys.NewSpawner(sys.CapSysPtrace)
	if err != nil {
		t.Fatal(err)
	}
	return spawner
}

// startSupervisor runs a supervisor with workers of the mode. ready is closed when the first serves.
func startSupervisor(t *testing.T, mode string) (
	s *Supervisor, events chan<- Event, ready <-chan struct{}, end <-chan error,
) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s = &Supervisor{
		Program: self, Args: []string{"worker", mode}, Spawner: newTestSpawner(t),
		Dir: t.TempDir(), Answered: new(atomic.Uint64), Meter: meter.NewPrivate(),
		Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
	requests, began, ended := make(chan Event), make(chan struct{}), make(chan error, 1)
	go func() { ended <- s.Run(requests, func() { close(began) }) }()
	return s, requests, began, ended
}

func wait[T any](t *testing.T, what string, from <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-from:
	case <-time.After(30 * time.Second):
		t.Fatalf("timed out waiting for %s", what)
	}
	return v
}

// waitFor waits until the condition holds.
func waitFor(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !holds(); {
		if time.Now().After(end) {
			t.Fatalf("timed out waiting for %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

// workers returns the pids of the child processes that are workers.
func workers(t *testing.T) (pids []int) {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		_, rest, _ := strings.Cut(string(text), ") ")
		var pid, parent int
		var state string
		fmt.Sscan(rest, &state, &parent)
		fmt.Sscan(string(text), &pid)
		args, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if err == nil && parent == os.Getpid() && strings.HasPrefix(string(args), "worker\x00") {
			pids = append(pids, pid)
		}
	}
	return pids
}

// TestRun kills a worker, upgrades another, and ends.
func TestRun(t *testing.T) {
	s, events, ready, end := startSupervisor(t, "serve")
	upgraded := make(chan struct{}, 1)
	s.Upgraded = func() { upgraded <- struct{}{} }
	up := func() bool { return s.Meter.WorkerUp.Load() == 1 }
	replaced := func(r meter.Reason) uint64 {
		counts, err := s.Meter.Counts()
		if err != nil {
			t.Fatal(err)
		}
		return counts.Replaced[r]
	}
	wait(t, "the first worker", ready)
	killed := workers(t)
	if len(killed) != 1 {
		t.Fatalf("workers %v", killed)
	}
	if err := syscall.Kill(killed[0], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the next worker", func() bool { return replaced(meter.Killed) == 1 && up() })
	if next := workers(t); len(next) != 1 || next[0] == killed[0] {
		t.Errorf("workers %v", next)
	}
	events <- Upgrade
	events <- Upgrade // is refused: one is under way
	wait(t, "the upgrade", upgraded)
	events <- Switch
	waitFor(t, "the upgraded worker", func() bool { return replaced(meter.Upgraded) == 1 && up() })
	events <- End
	if err := wait(t, "the end", end); err != nil {
		t.Error(err)
	}
	if left := workers(t); len(left) != 0 {
		t.Errorf("workers %v are left", left)
	}
}

// TestRunEnds runs workers that end by themselves.
func TestRunEnds(t *testing.T) {
	for mode, want := range map[string]error{"crash": ErrNoStart, "exit": ErrOver} {
		t.Run(mode, func(t *testing.T) {
			_, _, _, end := startSupervisor(t, mode)
			if err := wait(t, "the end", end); !errors.Is(err, want) {
				t.Errorf("got %v, want %v", err, want)
			}
		})
	}
}

// TestFailures ends workers in different ways, until the supervisor gives up.
func TestFailures(t *testing.T) {
	run := func(script string) *os.ProcessState {
		t.Helper()
		p, err := os.StartProcess("/bin/sh", []string{"sh", "-c", script}, &os.ProcAttr{})
		if err != nil {
			t.Fatal(err)
		}
		state, err := p.Wait()
		if err != nil {
			t.Fatal(err)
		}
		return state
	}
	exited, killed := run("exit 3"), run("kill -9 $$")
	for _, tt := range []struct {
		name      string
		state     *os.ProcessState
		served    time.Duration // ago, 0 if it has not served
		isKilled  bool          // by the supervisor
		reason    meter.Reason
		isFailure bool
	}{
		{"crashed before it served", exited, 0, false, meter.Crashed, true},
		{"crashed at once", exited, time.Millisecond, false, meter.Crashed, true},
		{"crashed", exited, time.Minute, false, meter.Crashed, false},
		{"killed by another process", killed, time.Millisecond, false, meter.Killed, false},
		{"killed by the supervisor", killed, time.Minute, true, meter.Hung, false},
		{"unknown", nil, time.Millisecond, false, meter.Crashed, true},
	} {
		e := exit{&process{serving: tt.served > 0, served: time.Now().Add(-tt.served)}, tt.state}
		if tt.isKilled {
			e.killed = time.Now()
		}
		if e.reason() != tt.reason || e.isFailure() != tt.isFailure {
			t.Errorf("%s: reason %v, failure %v", tt.name, e.reason(), e.isFailure())
		}
	}
	s := newSupervisor()
	s.started, s.failures = true, quickRestarts
	for s.failures <= maxFailures {
		s.current, _ = newProcess(t)
		done, err := s.handleExit(exit{s.current, exited})
		switch {
		case s.failures > maxFailures && (!done || err != ErrGaveUp):
			t.Errorf("after %d failures: %v", s.failures, err)
		case s.failures <= maxFailures && (done || s.restart == nil || s.current != nil):
			t.Errorf("after %d failures: no restart", s.failures)
		}
	}
}

// TestWorkerMessages connects a worker by hand.
func TestWorkerMessages(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	conn, err := net.Dial("unixgram", path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	r, pipe, err := sys.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	w := Worker{pipe: r, manager: conn}
	for message, want := range map[string]string{
		Ready: "READY=1\nX_BEATS=1", Serving: "X_SERVING=1", Alive: "X_ALIVE=1",
	} {
		if err := w.Tell(message); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 100)
		if n, err := manager.Read(b); err != nil || string(b[:n]) != want {
			t.Errorf("received %q, %v, want %q", b[:n], err, want)
		}
	}
	commands := w.Commands()
	p := process{pipe: pipe}
	p.tell(Serve)
	if got := wait(t, "a command", commands); got != Serve {
		t.Errorf("command %q", got)
	}
	pipe.Close()
	if got := wait(t, "the end of the supervisor", commands); got != Gone {
		t.Errorf("command %q", got)
	}
	if _, err := Connect(); err == nil {
		t.Error("connected without a supervisor")
	}
}
