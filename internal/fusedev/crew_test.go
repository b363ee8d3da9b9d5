package fusedev

import (
	"sync/atomic"
	"testing"
	"time"
)

// TestWatchIsNotFooled has the only thread at work stuck, while somebody else changes the number of requests that is told: another
// thread is called all the same.
func TestWatchIsNotFooled(t *testing.T) {
	c, told := &Conn{crew: newCrew(new(atomic.Uint64))}, new(atomic.Uint64)
	c.CountIn(told)
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-stop:
				return
			default:
				told.Add(1)
			}
		}
	}()
	go c.crew.lookOn()
	select {
	case <-c.crew.call:
	case <-time.After(10 * time.Second):
		t.Error("nobody is called")
	}
	c.crew.waiting.Store(1) // so that nobody looks on any more
	close(stop)
	<-ended
	before := told.Load()
	if c.crew.answered(); told.Load() != before+1 {
		t.Error("what is answered is not told")
	}
}
