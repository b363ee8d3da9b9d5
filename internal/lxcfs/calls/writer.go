package calls

import (
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"palisade/internal/linux/sys"
)

// writerMark is an environment variable of writers.
const writerMark = "PALISADE_CALLS_WRITER"

// IsWriter reports whether a Registry started this process as its writer.
func IsWriter() bool { return os.Getenv(writerMark) != "" }

// writer writes answers to the memory of callers. If the supervisor ends for good, it makes the
// kernel execute all calls until their filters have no more users: without a holder of its
// descriptor, a filter would fail its calls with ENOSYS.
type writer struct {
	shared
	pool *pool
	proc sys.File
	feed sys.File
	// listener is the socket of the Registry, which it serves after the supervisor has ended for
	// good: runtimes install a container's filter also for programs that they execute in it.
	listener net.Listener

	isNative atomic.Bool
	mu       sync.Mutex // guards changes of filters
	filters  [MaxFilters]atomic.Pointer[writerFilter]
	ended    chan struct{}
}

// writerFilter is a filter. isBusy is set while its call is answered.
type writerFilter struct {
	sys.File
	isBusy atomic.Bool
}

// Write is the main function of the writer. It confines the process (seccomp).
func Write() error {
	files, err := sys.PassedFiles(true)
	if err != nil {
		return err
	}
	if err := sys.HoldInThread(find(files, lifeName)); err != nil {
		return err
	}
	w := &writer{feed: find(files, feedName), ended: make(chan struct{})}
	if w.shared, err = openShared(files); err != nil {
		return err
	}
	socket := find(files, listenerName)
	if w.listener, err = socket.Listener(listenerName); err != nil {
		return err
	}
	if w.proc, err = sys.OpenDir("/proc"); err != nil {
		return err
	}
	if w.pool, err = newPool(w.handle); err != nil {
		return err
	}
	err = errors.Join(w.pool.AddOnce(w.feed, sys.EventIn, feedToken),
		w.pool.AddEvents(w.readyEvent, eventToken), sys.ConfineToAnswering())
	if err != nil {
		return err
	}
	w.pool.start()
	<-w.ended
	return nil
}

func (w *writer) handle(event sys.Event) {
	switch slot := int(event.Token); slot {
	case feedToken:
		w.obey()
	case eventToken:
		for slot := w.ready.take(); slot >= 0; slot = w.ready.take() {
			if !w.ready.isEmpty() { // this thread may block
				w.readyEvent.Notify()
			}
			w.deliver(slot)
		}
	default:
		w.receive(slot, event.Events)
	}
}

// obey handles a message of the supervisor, or its end.
func (w *writer) obey() {
	number, filter, err := sys.ReceiveNumbered(w.feed)
	switch {
	case err != nil:
		w.goNative()
		w.leaveIfUnused()
		go w.accept()
		w.answerOrphans()
		return
	case filter.IsOpen() && number < MaxFilters:
		w.add(int(number), filter)
	case number == leave:
		w.end()
	case number == stayNative:
		w.goNative()
	case number == resume:
		w.isNative.Store(false)
	}
	w.pool.Rearm(w.feed, sys.EventIn, feedToken)
}

// add begins to serve a filter. The last filter of the slot, if any, is the same one, or has no more
// users.
func (w *writer) add(slot int, file sys.File) {
	f := &writerFilter{File: file}
	w.mu.Lock()
	if last := w.filters[slot].Swap(f); last != nil {
		w.pool.Remove(last.File) // not closed: another thread may use it
	}
	w.mu.Unlock()
	if err := w.pool.AddOnce(file, w.events(), int32(slot)); err != nil {
		return
	}
	go func() { // an earlier writer may have died with the slot
		w.deliver(slot)
		if at := &w.slots[slot]; at.id() == 0 && at.isWanted.CompareAndSwap(1, 0) {
			w.free(slot)
		}
	}()
}

// accept receives filters from runtimes, and makes the kernel execute their calls.
func (w *writer) accept() {
	for {
		conn, err := w.listener.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			receiveFilters(conn.(*net.UnixConn), w.addNative) // an error concerns only this runtime
		}()
	}
}

func (w *writer) addNative(filter sys.File) error {
	if !filter.IsSeccompNotify() {
		return errors.New("not a descriptor of a seccomp filter")
	}
	for slot := range w.filters {
		if w.filters[slot].CompareAndSwap(nil, &writerFilter{File: filter}) {
			return w.pool.AddOnce(filter, w.events(), int32(slot))
		}
	}
	return errors.New("too many filters")
}

// events returns the events of filters that w handles, besides hang-ups.
func (w *writer) events() uint32 {
	if w.isNative.Load() {
		return sys.EventIn
	}
	return 0
}

// receive handles a hang-up of a filter, and receives its calls if the kernel must execute all.
func (w *writer) receive(slot int, events uint32) {
	f := w.filters[slot].Load()
	switch {
	case f == nil:
		return
	case events&sys.EventIn == 0:
		w.remove(slot, f)
		return
	case w.isNative.Load():
		var call sys.NotifiedCall
		if f.ReceiveCall(&call) == nil {
			f.Continue(&call) // fails if the thread has died
		}
	}
	w.pool.Rearm(f.File, w.events(), int32(slot))
}

func (w *writer) remove(slot int, f *writerFilter) {
	if !f.HasHungUp() || !w.filters[slot].CompareAndSwap(f, nil) {
		return
	}
	if f.isBusy.CompareAndSwap(false, true) {
		f.Close()
	}
	if w.isNative.Load() {
		w.leaveIfUnused()
	}
}

// deliver writes the answer in the slot, if there is one, ends the call, and frees the slot.
func (w *writer) deliver(slot int) {
	f, at := w.filters[slot].Load(), &w.slots[slot]
	if f == nil {
		return // add will deliver it
	}
	for f.isBusy.CompareAndSwap(false, true) {
		id, ok := at.ready()
		if ok {
			w.write(f, at)
		}
		f.isBusy.Store(false) // before the slot gets another answer
		if ok {
			if at.free(id) {
				w.free(slot)
			}
			return
		}
		if _, ok := at.ready(); !ok {
			return
		} // else another thread has found f busy
	}
}

// free tells the worker that the slot, for which a call waits, is free.
func (w *writer) free(slot int) {
	w.freed.set(slot)
	w.freedEvent.Notify()
}

// write writes the answer to the memory of the caller, and ends the call. It need not follow the
// protection of the page: the kernel gives a caller who passed a read-only private page a copy.
func (w *writer) write(f *writerFilter, at *slot) {
	size := min(at.size, maxData)
	if size > 0 && !w.copyOut(f, at, at.data[:size]) {
		f.Continue(&at.call) // fails if the thread has died
		return
	}
	f.Answer(&at.call, at.value)
}

// copyOut writes the data to the memory of the caller, and returns false if it cannot. The thread
// still waits after its memory was opened, so it is the caller's and not that of another process
// which has reused the number.
func (w *writer) copyOut(f *writerFilter, at *slot, data []byte) bool {
	mem, err := sys.OpenMemory(w.proc, at.call.TID)
	if err != nil {
		return false
	}
	defer mem.Close()
	if !f.IsWaiting(&at.call) {
		return false
	}
	n, err := mem.WriteAt(data, at.address)
	return err == nil && n == len(data)
}

// goNative makes the kernel execute all calls from now on.
func (w *writer) goNative() {
	w.isNative.Store(true)
	for slot := range w.filters {
		if f := w.filters[slot].Load(); f != nil {
			w.pool.Rearm(f.File, sys.EventIn, int32(slot))
		}
	}
}

const (
	// orphanTime is the time after the end of the supervisor in which a worker, which the kernel
	// kills then, may still receive a call, and orphanInterval the interval of checks for these.
	orphanTime     = 10 * time.Second
	orphanInterval = 20 * time.Millisecond
)

// answerOrphans makes the kernel execute the calls that no worker will answer.
func (w *writer) answerOrphans() {
	for range int(orphanTime / orphanInterval) {
		for slot := range w.filters {
			f, at := w.filters[slot].Load(), &w.slots[slot]
			if f == nil {
				continue
			}
			if id := at.id(); id != 0 && at.answered.Load() != id && f.Continue(&at.call) == nil {
				at.free(id)
			}
		}
		time.Sleep(orphanInterval)
	}
}

// leaveIfUnused ends the writer if it has no filters.
func (w *writer) leaveIfUnused() {
	for slot := range w.filters {
		if w.filters[slot].Load() != nil {
			return
		}
	}
	w.end()
}

func (w *writer) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case <-w.ended:
	default:
		close(w.ended)
	}
}
