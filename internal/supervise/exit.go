package supervise

import (
	"os"
	"syscall"
	"time"

	"palisade/internal/meter"
)

// exit is the end of a process.
type exit struct {
	*process
	state *os.ProcessState
}

// reason is why the process ended, for the meter.
func (e exit) reason() meter.Reason {
	switch {
	case !e.killed.IsZero():
		return meter.Hung
	case e.isKilled():
		return meter.Killed
	}
	return meter.Crashed
}

// isKilled tells whether the process was killed, by whomever.
func (e exit) isKilled() bool {
	if e.state == nil {
		return false
	}
	status, ok := e.state.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGKILL
}

// isFailure tells whether the worker died of itself, soon after it had begun, or before. One that is killed by somebody is
// none.
func (e exit) isFailure() bool {
	if !e.serving {
		return true
	}
	return !e.isKilled() && time.Since(e.served) < settled
}
