package lxcfs

import (
	"bytes"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"

	"palisade/internal/linux/sys"
	"palisade/internal/lxcfs/container"
	"palisade/internal/lxcfs/fusedev"
	"palisade/internal/lxcfs/persist"
)

const (
	// maxTriggers bounds the pressure triggers of one principal: each costs the kernel CPU time, and
	// this process a descriptor, as long as it exists.
	maxTriggers = 64
	// triggersPerFile is the number of descriptors that this process may have for each trigger.
	triggersPerFile = 8
	// unprivilegedWindow divides the window of an unprivileged trigger, in microseconds
	// (Documentation/accounting/psi.rst, Linux 6.5).
	unprivilegedWindow = 2000000
)

func maxAllTriggers() int { return min(persist.MaxTriggers, sys.MaxOpenFiles()/triggersPerFile) }

// unknownPrincipal stands for users of the host whose triggers an earlier worker has kept.
var unknownPrincipal container.Principal

// trigger is a pressure trigger: a pressure file of the container that the trigger was written to.
type trigger struct {
	set       *triggers
	token     int32
	file      sys.File
	principal *container.Principal
	record    *persist.Trigger
	// isRestored is true for a trigger of an earlier worker, until the reader writes it again.
	isRestored bool
}

// triggers waits for the events of all triggers, and notifies the kernel.
type triggers struct {
	poller *sys.Poller
	count  *atomic.Uint64 // of byToken
	notify func(kernelHandle uint64) error
	quota  *container.Quota

	mu      sync.Mutex
	last    int32 // token
	byToken map[int32]*trigger

	reopening sync.Mutex // for requests on reopen, see Options.Reopen
	reopen    sys.File
}

func newTriggers(reopen sys.File, count *atomic.Uint64) (*triggers, error) {
	poller, err := sys.NewPoller()
	return &triggers{
		poller: poller, count: count, reopen: reopen, byToken: make(map[int32]*trigger),
		quota: container.NewQuota(maxTriggers, maxAllTriggers()),
	}, err
}

// writeTrigger sets the trigger that a reader writes to a pressure file, on that of its own cgroup.
func (f *FS) writeTrigger(r *fusedev.Request, number uint64, text []byte) error {
	n := f.fixed.pressureNode(r.Node)
	if n == nil {
		return syscall.EBADF
	}
	file := f.files.Get(number)
	if !file.HasHandle() {
		return syscall.ENOSPC
	}
	if len(text) > persist.MaxTriggerText || r.UID != 0 && !hasUnprivilegedWindow(text) {
		return syscall.EINVAL
	}
	if !file.Lock() {
		return syscall.EBADF // closed while this request was blocked
	}
	defer file.Unlock()
	if tr, ok := file.Attachment().(*trigger); ok {
		if tr.isRestored && bytes.Equal(tr.record.Text(), text) {
			tr.isRestored = false
			return nil // an earlier worker has set it, and ended before it could reply
		}
		return syscall.EBUSY
	}
	c, err := f.find(r.TID, new(container.Scratch))
	if err != nil {
		return err
	}
	var key persist.Key
	if c != nil {
		defer c.Release()
		key = keyOf(c)
	}
	principal := f.finder.Principal(r.TID, r.UID)
	defer principal.Release() // the quota holds it
	if !f.triggers.quota.Take(principal) {
		return syscall.ENOSPC
	}
	tr := &trigger{
		set: f.triggers, principal: principal,
		record: f.kept.Triggers.Add(number, n.id, key, text),
	}
	if err := f.setTrigger(tr, c, n); err != nil {
		tr.Close()
		return err
	}
	file.Attach(tr)
	return nil
}

// hasUnprivilegedWindow reports whether the trigger "some|full <threshold> <window>" may be set
// without privilege.
func hasUnprivilegedWindow(text []byte) bool {
	fields := bytes.Fields(bytes.TrimRight(text, "\x00"))
	if len(fields) != 3 {
		return false
	}
	window, err := strconv.ParseUint(string(fields[2]), 10, 32)
	return err == nil && window%unprivilegedWindow == 0
}

// setTrigger sets a trigger on the pressure file n of c, or of the host if c is nil.
func (f *FS) setTrigger(tr *trigger, c *knownContainer, n *node) (err error) {
	path, ok := f.opts.ProcRoot+"/"+n.host, true
	if c != nil {
		if path, ok = c.Group.PressurePath(n.name); !ok {
			return syscall.EOPNOTSUPP
		}
	}
	ts := tr.set
	ts.reopening.Lock()
	tr.file, err = sys.ReopenForWriting(ts.reopen, path)
	ts.reopening.Unlock()
	if err != nil {
		return err
	}
	sys.AddReservedFDs(1)
	if _, err = tr.file.Write(tr.record.Text()); err != nil {
		return err
	}
	ts.mu.Lock()
	defer ts.mu.Unlock()
	ts.last++
	tr.token = ts.last
	if err := ts.poller.Add(tr.file, sys.EventPri, tr.token); err != nil {
		return err
	}
	ts.byToken[tr.token] = tr
	ts.count.Store(uint64(len(ts.byToken)))
	return nil
}

// restoreTriggers sets the triggers of earlier workers again. Polls of one that cannot be set
// return POLLERR.
func (f *FS) restoreTriggers() {
	for _, record := range f.kept.Triggers.All() {
		n := f.fixed.pressureNode(record.Node)
		if n == nil {
			record.Number.Store(0)
			continue
		}
		tr := &trigger{set: f.triggers, record: record, isRestored: true}
		if f.restoreTrigger(tr, n) != nil {
			record.Gone.Store(1)
		}
		f.files.Adopt(record.Number.Load(), tr)
		if waiter := record.Waiter.Swap(0); waiter != 0 {
			// The last worker may have died before it did; a poller without an event waits again.
			f.triggers.notify(waiter - 1)
		}
	}
}

// restoreTrigger sets one of them for its container. Which user of the host has set it is unknown.
func (f *FS) restoreTrigger(tr *trigger, n *node) error {
	var c *knownContainer
	tr.principal = &unknownPrincipal
	if key := tr.record.Key; key != (persist.Key{}) {
		var err error
		if c, err = f.finder.Find(uint32(key.PID), new(container.Scratch)); c != nil {
			defer c.Release()
		}
		if err != nil || c == nil || keyOf(c) != key {
			return syscall.ESRCH
		}
		tr.principal = f.finder.Principal(uint32(key.PID), 0)
		defer tr.principal.Release() // the quota holds it
	}
	f.triggers.quota.Add(tr.principal)
	return f.setTrigger(tr, c, n)
}

// run waits for events until the process ends.
func (ts *triggers) run(log *slog.Logger) {
	for {
		events, err := ts.poller.Wait()
		if err != nil {
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
	tr := ts.byToken[ev.Token]
	if tr == nil {
		ts.mu.Unlock()
		return
	}
	record := tr.record
	if ev.Events&sys.EventErr != 0 {
		ts.forget(ev.Token)
		record.Gone.Store(1)
		ts.poller.Remove(tr.file)
	}
	ts.mu.Unlock()
	if ev.Events&sys.EventPri != 0 {
		record.Fired.Store(1)
	}
	if waiter := record.Waiter.Load(); waiter != 0 {
		ts.notify(waiter - 1) // it fails only if the poller is gone
		record.Waiter.CompareAndSwap(waiter, 0)
	}
}

// forget removes a trigger from the table; ts.mu is held.
func (ts *triggers) forget(token int32) {
	delete(ts.byToken, token)
	ts.count.Store(uint64(len(ts.byToken)))
}

// Close removes the trigger. In the kernel it ends with the file.
func (tr *trigger) Close() {
	ts := tr.set
	ts.mu.Lock()
	ts.forget(tr.token)
	if tr.file.IsOpen() {
		tr.file.Close()
		sys.AddReservedFDs(-1)
	}
	ts.mu.Unlock()
	tr.record.Number.Store(0)
	ts.quota.Return(tr.principal)
}

// Poll returns the events of poll(2) on a file, as procfs has them. Without pressure files, ENOSYS
// makes the kernel not ask again.
func (f *FS) Poll(
	r *fusedev.Request, number, kernelHandle uint64, notify bool,
) (uint32, syscall.Errno) {
	const noTrigger = sys.EventReadable | sys.EventErr | sys.EventPri // psi_fop_poll() in the kernel
	if !f.psi {
		return 0, syscall.ENOSYS
	}
	if f.fixed.pressureNode(r.Node) == nil {
		return sys.EventReadable, 0
	}
	file := f.files.Get(number)
	if !file.Lock() {
		return noTrigger, 0
	}
	defer file.Unlock()
	tr, ok := file.Attachment().(*trigger)
	if !ok {
		return noTrigger, 0
	}
	if notify {
		tr.record.Waiter.Store(kernelHandle + 1)
	}
	switch {
	case tr.record.Gone.Load() != 0:
		return noTrigger, 0
	case tr.record.Fired.Swap(0) != 0:
		return sys.EventReadable | sys.EventPri, 0
	}
	return sys.EventReadable, 0
}
