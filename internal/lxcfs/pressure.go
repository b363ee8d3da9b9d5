package lxcfs

import (
	"bytes"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"

	"palisade/internal/container"
	"palisade/internal/sys"
)

const (
	// maxTriggers bounds the pressure triggers of one container: each costs the kernel work as long as it is there.
	maxTriggers = 64
	// maxTriggerText is more than any trigger needs: psi_write() of the kernel reads 32 bytes.
	maxTriggerText = 64
	// unprivilegedWindow is what the window of a trigger must be a multiple of, in microseconds, for who is not root
	// (Documentation/accounting/psi.rst, Linux 6.5).
	unprivilegedWindow = 2000000
)

// trigger is a pressure trigger: the container's own pressure file, open, with the trigger written to it.
type trigger struct {
	token int32
	file  sys.File
	owner *container.Container[guest] // nil if it is the host's
	// fired tells that the event came and was not polled yet, gone that the cgroup is no more.
	fired, gone atomic.Bool
	// waiter is the kernel's handle of those who poll, plus one; 0 where nobody does.
	waiter atomic.Uint64
}

// triggers waits for the events of all triggers and tells the kernel of them.
type triggers struct {
	poller *sys.Poller
	notify func(kernelHandle uint64) error

	mu   sync.Mutex
	next int32
	open map[int32]*trigger
}

func newTriggers() (*triggers, error) {
	poller, err := sys.NewPoller()
	if err != nil {
		return nil, err
	}
	return &triggers{poller: poller, open: make(map[int32]*trigger)}, nil
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
	tr := ts.open[ev.Token]
	if tr != nil && ev.Events&sys.EventErr != 0 {
		delete(ts.open, ev.Token)
		tr.gone.Store(true)
		ts.poller.Remove(tr.file)
	}
	ts.mu.Unlock()
	if tr == nil {
		return
	}
	if ev.Events&sys.EventPri != 0 {
		tr.fired.Store(true)
	}
	if waiter := tr.waiter.Swap(0); waiter != 0 {
		ts.notify(waiter - 1) // it fails only where the waiter is gone
	}
}

// add takes care of a trigger from now on.
func (ts *triggers) add(tr *trigger) error {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	ts.next++
	tr.token = ts.next
	if err := ts.poller.Add(tr.file, sys.EventPri, tr.token); err != nil {
		return err
	}
	ts.open[tr.token] = tr
	return nil
}

// close ends a trigger: the kernel forgets it with the file.
func (ts *triggers) close(tr *trigger) {
	ts.mu.Lock()
	delete(ts.open, tr.token)
	tr.file.Close()
	ts.mu.Unlock()
	if tr.owner != nil {
		tr.owner.State.triggers.Add(-1)
		tr.owner.Release()
	}
}

// poll tells the events that hold for the trigger, and notes who waits if none does.
func (tr *trigger) poll(kernelHandle uint64, notify bool) uint32 {
	if notify {
		tr.waiter.Store(kernelHandle + 1)
	}
	switch {
	case tr.gone.Load():
		return sys.EventReadable | sys.EventErr | sys.EventPri
	case tr.fired.Swap(false):
		return sys.EventReadable | sys.EventPri
	}
	return sys.EventReadable
}

// writeTrigger sets the trigger that a reader writes to a pressure file, on the same file of its own cgroup.
func (f *FS) writeTrigger(in *fuse.WriteIn, data []byte) (uint32, error) {
	n, ok := f.tree.byID[in.NodeId]
	if !ok || !n.psi {
		return 0, syscall.EBADF
	}
	h := f.handles.get(in.Fh)
	if h == nil {
		return 0, syscall.ENOSPC
	}
	if len(data) > maxTriggerText || in.Uid != 0 && !hasUnprivilegedWindow(data) {
		return 0, syscall.EINVAL
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.trigger != nil {
		return 0, syscall.EBUSY
	}
	tr, err := f.openTrigger(n, in.Pid)
	if err != nil {
		return 0, err
	}
	_, err = tr.file.Write(data)
	if err == nil {
		err = f.triggers.add(tr)
	}
	if err != nil {
		f.triggers.close(tr)
		return 0, err
	}
	h.trigger = tr
	return uint32(len(data)), nil
}

// openTrigger opens the pressure file that stands behind the node for the thread tid, and counts it.
func (f *FS) openTrigger(n *node, tid uint32) (*trigger, error) {
	var s container.Scratch
	c, err := f.find(tid, &s)
	if err != nil {
		return nil, err
	}
	tr := &trigger{owner: c}
	path := f.procRoot + "/" + n.host
	if c != nil {
		if c.State.triggers.Add(1) > maxTriggers {
			f.triggers.close(tr)
			return nil, syscall.ENOSPC
		}
		var ok bool
		if path, ok = c.Group.PressurePath(n.name); !ok {
			f.triggers.close(tr)
			return nil, syscall.EOPNOTSUPP
		}
	}
	if tr.file, err = sys.OpenReadWrite(path); err != nil {
		f.triggers.close(tr)
		return nil, err
	}
	return tr, nil
}

// hasUnprivilegedWindow tells whether the trigger "some|full <threshold> <window>" may be set without privilege.
func hasUnprivilegedWindow(text []byte) bool {
	fields := bytes.Fields(bytes.TrimRight(text, "\x00"))
	if len(fields) != 3 {
		return false
	}
	window, err := strconv.ParseUint(string(fields[2]), 10, 32)
	return err == nil && window%unprivilegedWindow == 0
}
