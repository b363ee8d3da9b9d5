package shift

import (
	"sync/atomic"
	"time"
)

// Progress is the progress of a pass over the tree.
type Progress struct {
	// Pass is "check", "shift" or "unshift".
	Pass string `json:"pass"`
	// Done is the number of files visited, of Total; Total is 0 if it is unknown.
	Done  uint64 `json:"done"`
	Total uint64 `json:"total"`
}

const progressInterval = 200 * time.Millisecond

type counter struct {
	done          atomic.Uint64
	report        func(Progress)
	current       Progress
	stop, stopped chan struct{}
}

// startCounter returns a counter. The caller must call end.
func startCounter(pass string, total uint64, report func(Progress)) *counter {
	c := &counter{report: report, current: Progress{Pass: pass, Total: total},
		stop: make(chan struct{}), stopped: make(chan struct{})}
	if report == nil {
		close(c.stopped)
		return c
	}
	go c.run()
	return c
}

func (c *counter) run() {
	defer close(c.stopped)
	ticker := time.NewTicker(progressInterval)
	defer ticker.Stop()
	for running := true; running; {
		select {
		case <-ticker.C:
		case <-c.stop:
			running = false
		}
		c.current.Done = c.done.Load()
		c.report(c.current)
	}
}

func (c *counter) add() { c.done.Add(1) }

// end makes the last report.
func (c *counter) end() {
	close(c.stop)
	<-c.stopped
}
