package fusedev

import (
	"sync/atomic"
	"testing"
	"time"
)

// TestWatchdogIgnoresMetric blocks the only running thread while another process changes the
// metric: the watchdog must wake a second thread.
func TestWatchdogIgnoresMetric(t *testing.T) {
	metric := new(atomic.Uint64)
	c := &Conn{pool: newPool(new(atomic.Uint64), metric)}
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-stop:
				return
			default:
				metric.Add(1)
			}
		}
	}()
	go c.pool.watchdog()
	select {
	case <-c.pool.wakeup:
	case <-time.After(10 * time.Second):
		t.Error("no thread was woken")
	}
	c.pool.waiting.Store(1) // ends the watchdog
	close(stop)
	<-ended
	before := metric.Load()
	if c.pool.answered(); metric.Load() != before+1 {
		t.Error("an answered request was not counted")
	}
}
