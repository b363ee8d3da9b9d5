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
	p, err := newPool(new(atomic.Uint64), metric)
	if err != nil {
		t.Fatal(err)
	}
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
	go p.watch(func() {}, func() int { return 0 })
	defer p.shutdown()
	p.waiting.Store(1)
	p.received()
	select {
	case <-p.wakeup:
	case <-time.After(10 * time.Second):
		t.Error("no thread was woken")
	}
	close(stop)
	<-ended
	before := metric.Load()
	if p.end(true); metric.Load() != before+1 {
		t.Error("an answered request was not counted")
	}
}
