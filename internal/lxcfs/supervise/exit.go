package supervise

import (
	"os"
	"syscall"
	"time"

	"palisade/internal/lxcfs/meter"
)

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

// isFailure reports whether the worker ended before it served, or within the time settled after
// that and not by SIGKILL.
func (e exit) isFailure() bool {
	if !e.serving {
		return true
	}
	return !e.isKilled() && time.Since(e.served) < settled
}
