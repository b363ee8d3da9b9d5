package lxcfs

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"palisade/internal/linux/cgroup"
	"palisade/internal/linux/procfs"
	"palisade/internal/linux/sys"
	"palisade/internal/lxcfs/container"
	"palisade/internal/lxcfs/fusedev"
	"palisade/internal/lxcfs/meter"
	"palisade/internal/lxcfs/view"
)

// Options say what is shown, and where it is read from.
type Options struct {
	// Memory says which memory is shown.
	Memory view.MemOptions
	// Quota lets a CPU quota lower the number of CPUs that is shown; without it the cpuset alone decides.
	Quota bool
	// Loadavg shows the container's own load averages; without it the host's.
	Loadavg bool
	// HostDiskName calls the disk that holds a container's root by the host's name instead of sda.
	HostDiskName bool
	// ProcRoot and SysRoot are the host's /proc and /sys.
	ProcRoot, SysRoot string
	// StateFile keeps the counters that the kernel does not keep, for the next process; "" keeps none.
	StateFile string
	// Reopen is the socket of who opens pressure files for writing, see sys.Reopener.
	Reopen sys.File
	// Meter counts what is done; nil counts nothing.
	Meter *meter.Meter
	Log   *slog.Logger
}

// FS is the file system. Its methods for requests are called from several threads at once.
type FS struct {
	opts     Options
	started  time.Duration // since the machine's start
	made     time.Time
	procRoot string
	log      *limitedLog
	meter    *meter.Meter

	proc    sys.File
	host    *procfs.FS
	cgroups *cgroup.FS
	finder  *container.Finder[guest]
	mounts  hostMounts
	looks   *shares
	cpuDir  *cpuDir
	tree    *tree

	handles  *handles
	triggers *triggers
	readers  sync.Pool
	state    *guestState
	// off turns virtualisation off: everybody gets the host's files.
	off atomic.Bool
	// fixedSizes makes all files fileSize bytes long: where the kernel checks modes itself, it
	// would ask for the size at each open(2).
	fixedSizes bool
	// keepSize is fusedev.Conn.KeepCachedSize.
	keepSize func(node uint64) error
	// psi tells that the kernel has pressure files for cgroups.
	psi bool
}

// New makes the file system of this host; an error names what it cannot do without.
func New(opts Options) (*FS, error) {
	f := &FS{
		opts: opts, started: sys.SinceBoot(), made: time.Now(), procRoot: opts.ProcRoot,
		log: newLimitedLog(opts.Log), meter: opts.Meter, handles: newHandles(),
	}
	f.readers.New = func() any { return new(reader) }
	mounts, err := sys.ReadFile(opts.ProcRoot+"/self/mountinfo", nil)
	if err != nil {
		return nil, err
	}
	if f.proc, err = sys.OpenDir(opts.ProcRoot); err != nil {
		return nil, err
	}
	if f.cgroups, err = cgroup.Detect(mounts, ""); err != nil {
		return nil, err
	}
	if f.host, err = procfs.New(opts.ProcRoot, opts.SysRoot); err != nil {
		return nil, err
	}
	f.mounts.proc, f.mounts.disks, f.looks = f.proc, f.host.Slaves, newLooks()
	if f.cpuDir, err = openCPUDir(opts.SysRoot); err != nil {
		return nil, err
	}
	f.finder, err = container.NewFinder[guest](f.cgroups, container.Options{
		Proc: opts.ProcRoot, Known: f.meter.Containers(), Log: opts.Log,
	})
	if err != nil {
		return nil, err
	}
	if err := sys.LimitFiles(f.finder.Evict); err != nil {
		return nil, err
	}
	if f.triggers, err = newTriggers(opts.Reopen, f.meter.Triggers()); err != nil {
		return nil, err
	}
	f.psi = f.cgroups.HasV2() && f.onHost("pressure/memory")
	f.tree = newTree(func(n *node) bool {
		switch {
		case n.id == idPressure, n.psi:
			return f.psi
		case n.host != "":
			return f.onHost(n.host)
		}
		return true
	})
	return f, nil
}

// clock returns the time since New. Unlike sys.SinceBoot it needs no system call.
func (f *FS) clock() time.Duration { return time.Since(f.made) }

// onHost tells whether the host's /proc has the file, and lets it be opened: with PSI off the files are there, but they
// cannot be.
func (f *FS) onHost(name string) bool {
	file, err := sys.Open(f.procRoot + "/" + name)
	file.Close()
	return err == nil
}

// Serve takes up what an earlier process has kept, and answers the session's requests, until the Conn that it returns
// ends. From then on the process can do no more than reading takes.
func (f *FS) Serve(session *fusedev.Session) (*fusedev.Conn, error) {
	conn, err := fusedev.NewConn(session, f, newMeta(f))
	if err != nil {
		return nil, err
	}
	f.state = openState(f.opts.StateFile, f.host, f.proc, f.opts.Log)
	f.handles.goOn(&f.state.reads)
	f.fixedSizes = session.KernelChecksAccess()
	f.keepSize = conn.KeepCachedSize
	f.triggers.notify, f.triggers.kept.mem = conn.NotifyPoll, f.state.triggers
	if err := sys.ConfineToReading(); err != nil {
		f.opts.Log.Warn("the worker has more rights than it needs", "err", err)
	}
	f.meter.Begin()
	conn.CountRequests(f.meter.Requests())
	f.restoreTriggers()
	go f.triggers.run(f.opts.Log)
	if f.opts.Loadavg {
		go f.sampleLoads()
	}
	conn.Start()
	return conn, nil
}

// ToggleVirtualisation turns the view of containers off, so that everybody reads the host's files, and on again. It
// returns whether it is on now.
func (f *FS) ToggleVirtualisation() bool {
	for {
		off := f.off.Load()
		if f.off.CompareAndSwap(off, !off) {
			return off
		}
	}
}

// Open opens a file that its mode lets the caller read. Only pressure files can be written.
func (f *FS) Open(r *fusedev.Request, flags uint32) (uint64, uint32, syscall.Errno) {
	if flags&syscall.O_ACCMODE != syscall.O_RDONLY {
		if n := f.tree.node(r.Node); n == nil || !n.psi {
			return 0, 0, syscall.EACCES
		}
	}
	if errno := f.Access(r, accessOf(flags)); errno != 0 {
		return 0, 0, errno
	}
	number := f.handles.add(r.Node, r.TID, nil)
	if number == 0 {
		principal := f.finder.Principal(r.TID, r.UID)
		number = f.handles.add(r.Node, r.TID, principal)
		principal.Release()
	}
	return number, fusedev.OpenDirectIO | fusedev.OpenNoFlush, 0
}

// Read serves a file: its text is made when it is read from its start, and kept for what is read after that.
func (f *FS) Read(r *fusedev.Request, number, offset uint64, size int, dst []byte) ([]byte, syscall.Errno) {
	file := f.handles.get(number)
	if isContainers(r.Node) && !f.isKeeper(r.UID, r.TID) {
		return dst, syscall.ENOENT // somebody has passed the open file on
	}
	if f.claimPrepared(r, file, number, size) || offset > 0 {
		if out, ok := file.appendKept(dst, offset, size); ok {
			return out, 0
		}
	}
	out, err := f.render(r, dst)
	if err != nil {
		if !isContainers(r.Node) { // there it is a process that is gone
			f.meter.Error(meter.Host)
		}
		return dst, toErrno(err)
	}
	text := out[len(dst):]
	f.keep(r, file, number, text, size)
	rest := text[min(offset, uint64(len(text))):]
	return out[:len(dst)+copy(text, rest)], 0
}

// claimPrepared reports whether the reader reads the text whose length it was told, see size.go.
func (f *FS) claimPrepared(r *fusedev.Request, file openFile, number uint64, size int) bool {
	return !r.MaybeAnswered && f.handles.claimPrepared(file, number, size, r.TID, f.isSameProcess)
}

// Rescue serves a file in the place of a Read that is stuck, with a file of the container's cgroup for instance: with the
// text that the reader has read before, or the host's.
func (f *FS) Rescue(r *fusedev.Request, number, offset uint64, size int, dst []byte) ([]byte, syscall.Errno) {
	f.log.Error("stuck", "a read takes too long; it is answered without the container's figures", errors.New("no answer in time"))
	f.meter.Error(meter.Stuck)
	file := f.handles.renew(number)
	f.claimPrepared(r, file, number, size)
	if out, ok := file.appendKept(dst, offset, size); ok {
		f.meter.Fallback(f.fileOf(r.Node))
		return out, 0
	}
	out, err := f.hostText(r, dst)
	if err != nil {
		return dst, toErrno(err)
	}
	f.meter.Fallback(f.fileOf(r.Node))
	text := out[len(dst):]
	f.keep(r, file, number, text, size)
	return out[:len(dst)+copy(text, text[min(offset, uint64(len(text))):])], 0
}

// hostText appends the host's text of the request's file to dst, EIO where the host has none.
func (f *FS) hostText(r *fusedev.Request, dst []byte) ([]byte, error) {
	n := f.tree.node(r.Node)
	if n != nil && n.host != "" {
		return f.hostFile(r, n, dst)
	}
	if n != nil || isContainers(r.Node) {
		return dst, syscall.EIO
	}
	p, err := f.cpuDir.path(r.Node)
	if err != nil {
		return dst, err
	}
	text, err := f.cpuDir.read(p, nil)
	return append(dst, text...), err
}

// hostFile appends the text of the host's file of n to dst, as far as the reader may know it.
func (f *FS) hostFile(r *fusedev.Request, n *node, dst []byte) ([]byte, error) {
	if n.hostMode != 0 && !f.mayAccess(r, n.hostMode, mayRead) {
		return append(dst, n.hidden...), nil
	}
	return f.host.Raw(n.host, dst)
}

// keep makes text the snapshot of the file that is read, if it is that file for certain; of text the reader gets size bytes.
func (f *FS) keep(r *fusedev.Request, file openFile, number uint64, text []byte, size int) {
	if !r.MaybeAnswered {
		f.handles.keep(file, number, text, size)
	}
}

// Release ends an open file. One that may have been ended before is left alone, since it may be another's.
func (f *FS) Release(r *fusedev.Request, number uint64) {
	if r.MaybeAnswered {
		return
	}
	if tr := f.handles.remove(number); tr != nil {
		f.triggers.close(tr)
	}
}

// Poll tells what poll(2) on a file of procfs would. Without pressure files the kernel is told not to ask again.
func (f *FS) Poll(r *fusedev.Request, number, kernelHandle uint64, notify bool) (uint32, syscall.Errno) {
	if !f.psi {
		return 0, syscall.ENOSYS
	}
	n := f.tree.node(r.Node)
	if n == nil || !n.psi {
		return sys.EventReadable, 0
	}
	file := f.handles.get(number)
	if !file.lock() {
		return sys.EventReadable | sys.EventErr | sys.EventPri, 0
	}
	defer file.h.mu.Unlock()
	if file.h.trigger == nil { // as psi_fop_poll() of the kernel
		return sys.EventReadable | sys.EventErr | sys.EventPri, 0
	}
	return file.h.trigger.poll(kernelHandle, notify), 0
}

// Panicked logs a panic, which costs one request its answer.
func (f *FS) Panicked(value any) {
	f.log.Error("panic", "a request panicked and was answered EIO", fmt.Errorf("%v", value))
	f.meter.Error(meter.Panic)
}

// toErrno is what a reader is told of an error of the host's own file.
func toErrno(err error) syscall.Errno {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return syscall.EIO
}
