package lxcfs

import (
	"bytes"
	"strconv"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"

	"palisade/internal/linux/sys"
	"palisade/internal/lxcfs/container"
)

const (
	// maxTriggers bounds the pressure triggers of one principal: each costs the kernel CPU time, and
	// this process an open file, as long as it exists.
	maxTriggers = 64
	// triggersOfFiles is how many triggers together there may be of the files that this process may have open: an eighth.
	triggersOfFiles = 8
	// maxTriggerText is more than any trigger needs: psi_write() of the kernel reads 32 bytes.
	maxTriggerText = 64
	// unprivilegedWindow is what the window of a trigger must be a multiple of, in microseconds, for who is not root
	// (Documentation/accounting/psi.rst, Linux 6.5).
	unprivilegedWindow = 2000000
)

// writeTrigger sets the trigger that a reader writes to a pressure file, on the same file of its own cgroup.
func (f *FS) writeTrigger(in *fuse.WriteIn, data []byte) (uint32, error) {
	n := f.tree.node(in.NodeId)
	if n == nil || !n.psi {
		return 0, syscall.EBADF
	}
	file := f.handles.get(in.Fh)
	if file.h == nil {
		return 0, syscall.ENOSPC
	}
	if len(data) > maxTriggerText || in.Uid != 0 && !hasUnprivilegedWindow(data) {
		return 0, syscall.EINVAL
	}
	if !file.lock() {
		return 0, syscall.EBADF // it was stuck, and is closed
	}
	h := file.h
	defer h.mu.Unlock()
	if h.trigger != nil {
		if h.trigger.isRestored && bytes.Equal(h.trigger.record.text(), data) {
			h.trigger.isRestored = false
			return uint32(len(data)), nil // the last process set it, and died before it could say so
		}
		return 0, syscall.EBUSY
	}
	var s container.Scratch
	c, err := f.find(in.Pid, &s)
	if err != nil {
		return 0, err
	}
	if c != nil {
		defer c.Release()
	}
	tr := &trigger{owner: f.finder.Principal(in.Pid, in.Uid)}
	defer tr.owner.Release() // the share holds it
	if !f.triggers.shares.take(tr.owner) {
		return 0, syscall.ENOSPC
	}
	tr.record = f.triggers.kept.add(in.Fh, n.id, c, data)
	if err := f.setTrigger(tr, c, n); err != nil {
		f.triggers.close(tr)
		return 0, err
	}
	h.trigger = tr
	return uint32(len(data)), nil
}

// setTrigger sets a trigger on the pressure file of c, or of the host, that stands behind the node.
func (f *FS) setTrigger(tr *trigger, c *knownContainer, n *node) (err error) {
	path, ok := f.procRoot+"/"+n.host, true
	if c != nil {
		if path, ok = c.Group.PressurePath(n.name); !ok {
			return syscall.EOPNOTSUPP
		}
	}
	if tr.file, err = f.triggers.open(path); err != nil {
		return err
	}
	sys.AddReservedFDs(1)
	if _, err = tr.file.Write(tr.record.text()); err != nil {
		return err
	}
	return f.triggers.add(tr)
}

// restoreTriggers sets the triggers of the last process again. Who polls one that cannot be set is told so.
func (f *FS) restoreTriggers() {
	for _, record := range f.triggers.kept.all() {
		n := f.tree.node(record.node())
		if n == nil || !n.psi {
			record.free()
			continue
		}
		tr := &trigger{record: record, isRestored: true}
		if f.restoreTrigger(tr, n) != nil {
			record.gone().Store(1)
		}
		f.handles.restore(record.number().Load(), tr)
		if waiter := record.waiter().Swap(0); waiter != 0 {
			f.triggers.notify(waiter - 1) // the last process may have died before it did; who has nothing to see waits on
		}
	}
}

// restoreTrigger sets one of them, for the container that it is kept of; which user of the host had set it is not known.
func (f *FS) restoreTrigger(tr *trigger, n *node) error {
	key := tr.record.key()
	if key == (stateKey{}) {
		tr.owner = &forgotten
		f.triggers.shares.add(tr.owner)
		return f.setTrigger(tr, nil, n)
	}
	var s container.Scratch
	c, err := f.finder.Find(uint32(key.PID), &s)
	if err != nil {
		return err
	}
	if c == nil {
		return syscall.ESRCH
	}
	defer c.Release()
	if keyOf(c) != key {
		return syscall.ESRCH
	}
	tr.owner = f.finder.Principal(uint32(key.PID), 0)
	defer tr.owner.Release() // the share holds it
	f.triggers.shares.add(tr.owner)
	return f.setTrigger(tr, c, n)
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
