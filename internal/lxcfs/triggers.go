package lxcfs

import (
	"log/slog"
	"sync"
	"sync/atomic"

	"palisade/internal/linux/sys"
	"palisade/internal/lxcfs/container"
)

// trigger is a pressure trigger: the container's own pressure file, open, with the trigger written to it.
type trigger struct {
	token int32
	file  sys.File
	owner *container.Principal
	// isRestored tells that an earlier process set it first.
	isRestored bool
	// record is what the next process has to know of it.
	record triggerRecord
}

// triggers waits for the events of all triggers and tells the kernel of them.
type triggers struct {
	poller *sys.Poller
	// set is kept at the number of those that are known.
	set    *atomic.Uint64
	notify func(kernelHandle uint64) error
	kept   keptTriggers
	shares *shares

	mu    sync.Mutex
	next  int32
	known map[int32]*trigger

	// reopen is the socket of who opens pressure files, opening held by who asks.
	reopen  sys.File
	opening sync.Mutex
}

func newTriggers(reopen sys.File, set *atomic.Uint64) (*triggers, error) {
	poller, err := sys.NewPoller()
	if err != nil {
		return nil, err
	}
	most := min(keptTriggerCount, sys.MaxOpenFiles()/triggersOfFiles)
	return &triggers{
		poller: poller, set: set, reopen: reopen, known: make(map[int32]*trigger), shares: newShares(maxTriggers, most),
	}, nil
}

// run waits for events until the process ends.
func (ts *triggers) run(log *slog.Logger) {
	var events []sys.Event
	for {
		var err error
		if events, err = ts.poller.Wait(events[:0]); err != nil {
			log.Error("pressure triggers do not fire any more", "err", err)
			return
		}
		for _, ev := range events {
			ts.fire(ev)
		}
	}
}

func (ts *triggers) fire(ev sys.Event) {
	ts.mu.Lock()
	tr := ts.known[ev.Token]
	if tr == nil {
		ts.mu.Unlock()
		return
	}
	record := tr.record
	if ev.Events&sys.EventErr != 0 {
		ts.forget(ev.Token)
		record.gone().Store(1)
		ts.poller.Remove(tr.file)
	}
	ts.mu.Unlock()
	if ev.Events&sys.EventPri != 0 {
		record.fired().Store(1)
	}
	if waiter := record.waiter().Load(); waiter != 0 {
		ts.notify(waiter - 1) // it fails only where the waiter is gone
		record.waiter().CompareAndSwap(waiter, 0)
	}
}

// open opens a pressure file for writing.
func (ts *triggers) open(path string) (sys.File, error) {
	ts.opening.Lock()
	defer ts.opening.Unlock()
	return sys.ReopenForWriting(ts.reopen, path)
}

// add waits for the trigger's events from now on.
func (ts *triggers) add(tr *trigger) error {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	ts.next++
	tr.token = ts.next
	if err := ts.poller.Add(tr.file, sys.EventPri, tr.token); err != nil {
		return err
	}
	ts.known[tr.token] = tr
	ts.set.Store(uint64(len(ts.known)))
	return nil
}

// forget removes a trigger from those that are known; ts.mu is held.
func (ts *triggers) forget(token int32) {
	delete(ts.known, token)
	ts.set.Store(uint64(len(ts.known)))
}

// close ends a trigger: the kernel forgets it with the file.
func (ts *triggers) close(tr *trigger) {
	ts.mu.Lock()
	ts.forget(tr.token)
	if tr.file.IsOpen() {
		tr.file.Close()
		sys.AddReservedFDs(-1)
	}
	ts.mu.Unlock()
	tr.record.free()
	ts.shares.giveBack(tr.owner)
}

// poll tells the events that hold for the trigger, and notes who waits if none does.
func (tr *trigger) poll(kernelHandle uint64, notify bool) uint32 {
	if notify {
		tr.record.waiter().Store(kernelHandle + 1)
	}
	switch {
	case tr.record.gone().Load() != 0:
		return sys.EventReadable | sys.EventErr | sys.EventPri
	case tr.record.fired().Swap(0) != 0:
		return sys.EventReadable | sys.EventPri
	}
	return sys.EventReadable
}
