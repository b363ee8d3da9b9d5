// Package supervise keeps alive a worker process that serves descriptors of this process. It starts
// a worker, replaces it if it dies, hangs or must be upgraded, and gives up if too many workers
// fail in a row. It does not know what the worker does, and reads nothing that a container can
// influence.
//
// The worker runs the same program. As from a service manager, it gets the descriptors by
// LISTEN_FDS and reports on NOTIFY_SOCKET. It then waits for commands on the first descriptor, a
// pipe. The end of the pipe is the end of the supervisor.
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

	"palisade/internal/linux/sys"
)

// Command is a command of the supervisor to a worker.
type Command byte

// Commands.
const (
	// Serve: begin to serve the files. No other worker does.
	Serve Command = 's'
	// Leave: finish the requests in progress, leave the others to the next worker, and exit.
	Leave Command = 'l'
	// Toggle: switch between the container's values and the host's. It may come before Serve.
	Toggle Command = 't'
	// Ping: reply Alive if requests are answered.
	Ping Command = 'a'
	// Gone: the supervisor has ended.
	Gone Command = 0
)

const (
	// workerMark is an environment variable of workers.
	workerMark = "PALISADE_WORKER"
	pipeName   = "supervisor"
)

// Messages of a worker.
const (
	// Ready: this worker is able to serve.
	Ready = daemon.SdNotifyReady + "\n" + pingSupport
	// Serving: it has begun to serve.
	Serving = "X_SERVING=1"
	// Alive is the reply to Ping: it answers requests.
	Alive = "X_ALIVE=1"

	// pingSupport is sent by a worker that answers Ping with Alive. Earlier versions do not.
	pingSupport = "X_BEATS=1"
)

// IsWorker reports whether a Supervisor started this process.
func IsWorker() bool { return os.Getenv(workerMark) != "" }

// Worker is the worker's connection to its supervisor.
type Worker struct {
	// Files are the descriptors to serve.
	Files []sys.NamedFile
	pipe  sys.File
	// manager is the connected NOTIFY_SOCKET: a confined worker cannot create sockets.
	manager net.Conn
}

// Connect returns the connection to the supervisor that started this process.
func Connect() (*Worker, error) {
	files, err := sys.PassedFiles(true)
	if err != nil {
		return nil, err
	}
	if len(files) == 0 || files[0].Name != pipeName {
		return nil, errors.New("only a supervisor can start a worker")
	}
	manager, err := net.Dial("unixgram", os.Getenv("NOTIFY_SOCKET"))
	if err != nil {
		return nil, fmt.Errorf("find the supervisor: %w", err)
	}
	return &Worker{Files: files[1:], pipe: files[0].File, manager: manager}, nil
}

// Tell sends a message to the supervisor.
func (w *Worker) Tell(message string) error {
	_, err := w.manager.Write([]byte(message))
	return err
}

// Commands returns a channel of the supervisor's commands, which is closed when that has ended.
func (w *Worker) Commands() <-chan Command {
	commands := make(chan Command)
	go func() {
		defer close(commands)
		var b [1]byte
		for {
			if n, err := w.pipe.Read(b[:]); err != nil || n != 1 {
				return
			}
			commands <- Command(b[0])
		}
	}()
	return commands
}

// process is a worker as its supervisor sees it.
type process struct {
	*os.Process
	pipe  sys.File
	image sys.File // its program
	feed  Feed     // nil if there is none
	// ready: it can serve; serving: it does; answersPing: it sends alive in reply to Ping.
	ready, serving, answersPing bool
	// isAlive is set when it answers Ping, until the next check. silent is the time
	// without READY or a sign of life, less that spent waiting for a CPU.
	isAlive bool
	silent  time.Duration
	// cpu is the CPU time of its threads at the last check.
	cpu map[int]time.Duration
	// The times at which it began to serve, was told to leave, and was killed.
	served, leaving, killed time.Time
}

// isStuck reports whether the process was killed but has not ended, since a thread is stuck in the
// kernel. It executes no more code.
func (p *process) isStuck() bool {
	return p != nil && !p.killed.IsZero() && time.Since(p.killed) > dyingTime
}

// start starts a worker from an open program. It sends the worker's end to exits.
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
	var feed Feed
	if s.NewFeed != nil {
		var more []sys.NamedFile
		if feed, more, err = s.NewFeed(); err != nil {
			w.Close()
			return nil, err
		}
		defer more[0].File.Close()
		files = append(files, more...)
	}
	p, err := s.Spawner.Start(image.Path(), s.Args, env, files)
	if err != nil {
		w.Close()
		if feed != nil {
			feed.Close(false)
		}
		return nil, err
	}
	worker := &process{Process: p, pipe: w, image: image, feed: feed}
	go func() {
		state, _ := p.Wait() // nil if the state is unknown
		exits <- exit{worker, state}
	}()
	return worker, nil
}

// tell sends a command. A worker that does not read it is dead or will be found to hang.
func (p *process) tell(c Command) { p.pipe.Write([]byte{byte(c)}) }
