// Package supervise keeps a worker process alive that serves files which this process holds: it starts one, watches it,
// replaces it when it dies, hangs, or is to be upgraded, and gives up only when none can live. It knows nothing of what
// the worker does, and reads nothing that a container can influence.
//
// The worker is the same program. It gets the files as a service manager passes them (LISTEN_FDS), tells that it is ready
// as one is told (NOTIFY_SOCKET), and then waits for a command on the pipe that is the first of the files; its end is the
// supervisor's.
package supervise

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"palisade/internal/sys"
)

// Command is what the supervisor tells a worker.
type Command byte

// Commands.
const (
	// Serve: begin to serve the files. Nobody else does.
	Serve Command = 's'
	// Leave: end what has been begun with, leave all else to the next worker, and exit.
	Leave Command = 'l'
	// Toggle switches what SIGUSR2 switches. It may come before Serve.
	Toggle Command = 't'
	// Ping: call Alive if requests are answered.
	Ping Command = 'a'
)

const (
	// workerMark is in the environment of a worker.
	workerMark = "PALISADE_WORKER"
	pipeName   = "supervisor"
	// serving is what a worker tells when it has begun to serve.
	serving = "X_SERVING=1"
	// pingSupport is sent with READY=1 by a worker that answers Ping with alive. Earlier versions do
	// not.
	pingSupport = "X_BEATS=1"
	alive       = "X_ALIVE=1"
)

// IsWorker tells whether this process was started by a Supervisor.
func IsWorker() bool { return os.Getenv(workerMark) != "" }

// Worker is the worker's side.
type Worker struct {
	// Files are what it is to serve.
	Files []sys.NamedFile
	pipe  sys.File
	// manager is the supervisor's NOTIFY_SOCKET, connected once: a worker that is confined makes no sockets.
	manager net.Conn
}

// Connect finds what the supervisor has passed.
func Connect() (*Worker, error) {
	files, err := sys.PassedFiles(true)
	if err != nil {
		return nil, err
	}
	if len(files) == 0 || files[0].Name != pipeName {
		return nil, errors.New("a worker is started by its supervisor alone")
	}
	manager, err := net.Dial("unixgram", os.Getenv("NOTIFY_SOCKET"))
	if err != nil {
		return nil, fmt.Errorf("find the supervisor: %w", err)
	}
	return &Worker{Files: files[1:], pipe: files[0].File, manager: manager}, nil
}

// Ready tells the supervisor that this worker is able to serve.
func (w *Worker) Ready() error { return w.notify(daemon.SdNotifyReady + "\n" + pingSupport) }

// Serving tells the supervisor that it does.
func (w *Worker) Serving() error { return w.notify(serving) }

// Alive answers Ping: requests are answered.
func (w *Worker) Alive() error { return w.notify(alive) }

func (w *Worker) notify(text string) error {
	_, err := w.manager.Write([]byte(text))
	return err
}

// Next waits for the next command. It tells false when the supervisor is gone.
func (w *Worker) Next() (Command, bool) {
	var b [1]byte
	n, err := w.pipe.Read(b[:])
	return Command(b[0]), err == nil && n == 1
}

// process is a worker, seen by its supervisor.
type process struct {
	*os.Process
	pipe  sys.File
	image sys.File // its program
	// ready: it can serve; serving: it does; answersPing: it sends alive in reply to Ping.
	ready, serving, answersPing bool
	// isAlive is set when it answers Ping, until the next check. silent is the time
	// without READY or a sign of life, less that spent waiting for a CPU.
	isAlive bool
	silent  time.Duration
	// cpu is the CPU time of its threads at the last check.
	cpu map[int]time.Duration
	// served is when it began to, leaving when it was told to leave, killed when it was killed.
	served, leaving, killed time.Time
}

// isStuck tells whether it was killed and has not ended since: one of its threads is stuck in the kernel. It will do nothing
// more, and nobody need wait for it.
func (p *process) isStuck() bool {
	return p != nil && !p.killed.IsZero() && time.Since(p.killed) > dyingTime
}

// start starts a worker from an open program. Its end is told to exits.
func (s *Supervisor) start(image sys.File, exits chan<- exit) (*process, error) {
	r, w, err := sys.Pipe()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	env := slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "NOTIFY_SOCKET=") || strings.HasPrefix(v, "WATCHDOG_")
	})
	env = append(env, workerMark+"=1", "NOTIFY_SOCKET="+s.socket)
	files := append([]sys.NamedFile{{Name: pipeName, File: r}}, s.Files...)
	p, err := s.Spawner.Start(image.Path(), s.Args, env, files)
	if err != nil {
		w.Close()
		return nil, err
	}
	worker := &process{Process: p, pipe: w, image: image}
	go func() {
		state, _ := p.Wait() // a state of nil is that of a process that ended somehow
		exits <- exit{worker, state}
	}()
	return worker, nil
}

// tell sends a command. A worker that does not read it is dead or will be found to hang.
func (p *process) tell(c Command) { p.pipe.Write([]byte{byte(c)}) }
