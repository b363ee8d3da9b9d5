package shift

import (
	"sync"
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

// counter counts visited files. Its end makes the last report.
type counter struct {
	atomic.Uint64
	end func()
}

// startCounter returns a counter. The caller must call end.
func startCounter(pass string, total uint64, report func(Progress)) *counter {
	c := &counter{end: func() {}}
	if report == nil {
		return c
	}
	stop := make(chan struct{})
	var reports sync.WaitGroup
	reports.Go(func() {
		ticker := time.NewTicker(progressInterval)
		defer ticker.Stop()
		for running := true; running; {
			select {
			case <-ticker.C:
			case <-stop:
				running = false
			}
			report(Progress{pass, c.Load(), total})
		}
	})
	c.end = func() {
		close(stop)
		reports.Wait()
	}
	return c
}
