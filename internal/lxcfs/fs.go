package lxcfs

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"palisade/internal/linux/cgroup"
	"palisade/internal/linux/procfs"
	"palisade/internal/linux/sys"
	"palisade/internal/lxcfs/calls"
	"palisade/internal/lxcfs/container"
	"palisade/internal/lxcfs/disk"
	"palisade/internal/lxcfs/fusedev"
	"palisade/internal/lxcfs/meter"
	"palisade/internal/lxcfs/openfile"
	"palisade/internal/lxcfs/persist"
	"palisade/internal/lxcfs/view"
)

// Options configure an FS.
type Options struct {
	Memory view.MemOptions
	// Quota lowers the number of visible CPUs to the CPU quota. Without it only the cpuset counts.
	Quota bool
	// Loadavg shows the container's load averages instead of the host's.
	Loadavg bool
	// HostDiskName shows the disk of a container's root under the host's name instead of sda.
	HostDiskName bool
	// ProcRoot and SysRoot are the host's /proc and /sys.
	ProcRoot, SysRoot string
	// StateFile is the path of the persist.File for the next worker, or "" to keep nothing.
	StateFile string
	// Reopen is the socket of the process that opens pressure files for writing, see sys.Reopener.
	Reopen sys.File
	// Meter counts requests.
	Meter *meter.Meter
	Log   *slog.Logger
}

// FS is the file system. Its methods for requests are called concurrently.
type FS struct {
	opts  Options
	made  time.Time
	log   *limitedLog
	meter *meter.Meter

	proc    sys.File
	host    *procfs.FS
	cgroups *cgroup.FS
	finder  *container.Finder[containerState]
	disks   *disk.Finder

	fixed      *fixedTree
	sysfs      *sysfsTree
	containers containerTree

	files    *openfile.Table
	triggers *triggers
	kept     *persist.File
	readers  sync.Pool
	// classes has the classes of threads since classesAt, for Class.
	classes   map[thread]uint64
	classesAt time.Duration
	// off is true while all readers get the host's files.
	off atomic.Bool
	// fixedSizes makes all files fileSize bytes long: where the kernel checks modes itself, it would
	// ask for the size at each open(2).
	fixedSizes bool
	// keepSize is fusedev.Conn.KeepCachedSize.
	keepSize func(node uint64) error
	// hints has that of each seccomp filter.
	hints [calls.MaxFilters]atomic.Pointer[container.Hint]
	// maxCPUs is the number of CPUs that the kernel may ever have.
	maxCPUs int
	// psi is true if the kernel has pressure files for cgroups.
	psi bool
	// numa is true if the kernel has a directory of NUMA nodes, severalNodes if the machine may have
	// more than one.
	numa, severalNodes bool
	// pageSizes are those of /proc/vmstat.
	pageSizes view.PageSizes
}

// New returns the file system of this host.
func New(opts Options) (*FS, error) {
	f := &FS{
		opts: opts, made: time.Now(),
		log: newLimitedLog(opts.Log), meter: opts.Meter, files: openfile.NewTable(),
		classes: make(map[thread]uint64),
		kept:    new(persist.File),
	}
	f.containers.fs = f
	f.readers.New = func() any { return &reader{fs: f} }
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
	if f.sysfs, err = openSysfsTree(f, opts.SysRoot); err != nil {
		return nil, err
	}
	possibleNodes, err := f.sysfs.root.ReadFileAt("node/possible", nil)
	f.numa = err == nil
	f.severalNodes = f.numa && strings.TrimSpace(string(possibleNodes)) != "0"
	f.pageSizes = view.PageSizes{Page: uint64(os.Getpagesize()), Huge: f.host.HugePageSize()}
	f.finder, err = container.NewFinder[containerState](
		f.cgroups, f.proc, &f.meter.Containers, opts.Log)
	if err != nil {
		return nil, err
	}
	f.maxCPUs = possibleCPUs(f.host)
	f.disks = disk.NewFinder(f.proc, f.host, opts.HostDiskName, f.finder.IsHostRoot)
	if err := sys.LimitFiles(f.finder.Evict); err != nil {
		return nil, err
	}
	if f.triggers, err = newTriggers(opts.Reopen, &f.meter.Triggers); err != nil {
		return nil, err
	}
	f.psi = f.cgroups.HasV2() && f.onHost("pressure/memory")
	f.fixed = newFixedTree(f, func(n *node) bool {
		if n.parent == idPressure || n.id == idPressure {
			return f.psi
		}
		if n.id == idNodeDir {
			return f.numa
		}
		return n.host == "" || f.onHost(n.host)
	})
	return f, nil
}

// clock returns the time since New. Unlike sys.SinceBoot it needs no system call.
func (f *FS) clock() time.Duration { return time.Since(f.made) }

// Serve restores what an earlier worker has kept, and answers the session's requests until the
// returned Conn ends. It confines the process to what that needs (seccomp).
func (f *FS) Serve(session *fusedev.Session) (*fusedev.Conn, error) {
	conn, err := fusedev.NewConn(session, f, newMeta(f), &f.meter.Requests)
	if err != nil {
		return nil, err
	}
	f.kept = persist.Open(f.opts.StateFile, f.maxCPUs, f.isRunning, f.opts.Log)
	f.files.Restore(&f.kept.Reads)
	f.fixedSizes = session.KernelChecksAccess()
	f.keepSize = conn.KeepCachedSize
	f.triggers.notify = conn.NotifyPoll
	if err := sys.ConfineToReading(); err != nil {
		f.opts.Log.Warn("worker not confined", "err", err)
	}
	f.meter.Begin()
	f.restoreTriggers()
	go f.triggers.run(f.opts.Log)
	if f.opts.Loadavg {
		go f.sampleLoads()
	}
	conn.Start()
	return conn, nil
}

// ToggleVirtualisation makes all readers get the host's files, or containers theirs again.
func (f *FS) ToggleVirtualisation() { f.off.Store(!f.off.Load()) }

// Open opens a file if its mode allows it. Only pressure files can be written.
func (f *FS) Open(r *fusedev.Request, flags uint32) (uint64, syscall.Errno) {
	if flags&syscall.O_ACCMODE != syscall.O_RDONLY && f.fixed.pressureNode(r.Node) == nil {
		return 0, syscall.EACCES
	}
	if errno := f.Access(r, openMasks[flags&syscall.O_ACCMODE]); errno != 0 {
		return 0, errno
	}
	number := f.files.Add(r.Node, r.TID, nil)
	if number == 0 {
		principal := f.finder.Principal(r.TID, r.UID)
		number = f.files.Add(r.Node, r.TID, principal)
		principal.Release()
	}
	return number, 0
}

// Read reads a file: its content is made when it is read from its start, and kept for later
// offsets.
func (f *FS) Read(
	r *fusedev.Request, number, offset uint64, size int, dst []byte,
) ([]byte, syscall.Errno) {
	tree, err := f.subtree(r)
	if err != nil {
		return dst, toErrno(err)
	}
	file := f.files.Get(number)
	if f.claimPrepared(r, file, size) || offset > 0 {
		if out, ok := file.AppendKept(dst, offset, size); ok {
			return out, 0
		}
	}
	out, err := f.render(tree, r, dst)
	if err != nil {
		if tree != &f.containers { // there the process has ended
			f.meter.Error(meter.Host)
		}
		return dst, toErrno(err)
	}
	return f.keep(r, file, offset, size, dst, out), 0
}

// Rescue answers instead of a Read that is blocked, by a file of the container's cgroup for
// instance: with the content that the reader has begun with, or the host's.
func (f *FS) Rescue(
	r *fusedev.Request, number, offset uint64, size int, dst []byte,
) ([]byte, syscall.Errno) {
	f.log.Error("stuck", "a read takes too long and is answered without the container's values",
		errors.New("no answer in time"))
	f.meter.Error(meter.Stuck)
	tree := f.subtreeOf(r.Node)
	file := f.files.Get(number).Invalidate()
	f.claimPrepared(r, file, size)
	out, ok := file.AppendKept(dst, offset, size)
	if !ok {
		content, err := tree.hostContent(r, dst)
		if err != nil {
			return dst, toErrno(err)
		}
		out = f.keep(r, file, offset, size, dst, content)
	}
	f.meter.Fallback(tree.metered(r.Node))
	return out, 0
}

// claimPrepared reports whether the reader reads the content whose length it was told, see size.
func (f *FS) claimPrepared(r *fusedev.Request, file openfile.File, size int) bool {
	return !r.MaybeAnswered && file.ClaimPrepared(size, r.TID, f.isPeer)
}

// keep keeps the content that was appended to dst in out, of which the reader gets size bytes, and
// removes what is before the offset. It keeps nothing if the number may be another file's.
func (f *FS) keep(
	r *fusedev.Request, file openfile.File, offset uint64, size int, dst, out []byte,
) []byte {
	content := out[len(dst):]
	if !r.MaybeAnswered {
		file.Keep(content, size)
	}
	return out[:len(dst)+copy(content, content[min(offset, uint64(len(content))):])]
}

// Release closes a file, unless the number may be another file's.
func (f *FS) Release(r *fusedev.Request, number uint64) {
	if !r.MaybeAnswered {
		f.files.Remove(number)
	}
}

// Class returns a number for the principal of the reader, or of the one that was first known to use
// the open file: the kernel does not say who closes it. It returns 0 for an unknown one.
func (f *FS) Class(r *fusedev.Request, number uint64) uint64 {
	return f.files.Get(number).Class(func() uint64 {
		if r.TID == 0 {
			return 0
		}
		if now := f.clock(); len(f.classes) == maxClasses || now-f.classesAt > classTime {
			clear(f.classes)
			f.classesAt = now
		}
		t := thread{r.TID, r.UID}
		class, ok := f.classes[t]
		if !ok {
			class = f.classOf(r)
			f.classes[t] = class
		}
		return class
	})
}

// thread is a thread at a moment: its id may be reused, and its user may change.
type thread struct{ tid, uid uint32 }

const (
	// maxClasses is the number of threads whose class is remembered, classTime how long it is.
	maxClasses = 4096
	classTime  = time.Second
)

func (f *FS) classOf(r *fusedev.Request) uint64 {
	const user = 1 << 63
	p := f.finder.Principal(r.TID, r.UID)
	defer p.Release()
	if ns := p.Namespace(); ns != 0 {
		return ns
	}
	return user | uint64(p.UID())
}

// CPU returns the number of the CPU on which the reader was last running.
func (f *FS) CPU(r *fusedev.Request) (cpu int, ok bool) {
	rd := f.getReader(r.TID)
	defer f.putReader(rd)
	var err error
	cpu, rd.buf, err = procfs.ReadTaskCPU(f.proc, int(r.TID), rd.buf)
	return cpu, err == nil
}

// Panicked logs a panic, which fails one request.
func (f *FS) Panicked(value any) {
	f.log.Error("panic", "a request panicked and was answered EIO", fmt.Errorf("%v", value))
	f.meter.Error(meter.Panic)
}

// toErrno returns the error number for a reader: 0 for nil, and EIO if err has none.
func toErrno(err error) syscall.Errno {
	var errno syscall.Errno
	if err != nil && !errors.As(err, &errno) {
		return syscall.EIO
	}
	return errno
}

// subtree is a part of the served tree. The three parts differ in where their nodes come from: a
// table (fixedTree), the host's sysfs (sysfsTree), and processes (containerTree). The id of a node
// says in which part it is.
type subtree interface {
	// lookup describes the entry name of the directory r.Node.
	lookup(r *fusedev.Request, name string, out *fuse.EntryOut) error
	// entries lists the directory r.Node, without "." and "..". An entry has its position in Off,
	// or 0 if that follows from its index.
	entries(r *fusedev.Request) ([]fuse.DirEntry, error)
	// attr describes r.Node, with a size that does not depend on the reader. It returns true if the
	// size should be the length of the reader's content.
	attr(r *fusedev.Request, out *fuse.AttrOut) (sized bool, err error)
	// render appends the content of the file r.Node for its reader.
	render(rd *reader, r *fusedev.Request, dst []byte) ([]byte, error)
	// hostContent appends the content that a reader of the host gets.
	hostContent(r *fusedev.Request, dst []byte) ([]byte, error)
	// metered returns the file as which a node is counted.
	metered(id uint64) meter.File
}

func (f *FS) subtreeOf(id uint64) subtree {
	switch {
	case isContainers(id):
		return &f.containers
	case isSysfs(id):
		return f.sysfs
	}
	return f.fixed
}

// subtree returns the part of the tree that has the request's node. The directory containers exists
// only for the host's root, also if another process gets an open file of it.
func (f *FS) subtree(r *fusedev.Request) (subtree, error) {
	if isContainers(r.Node) && !f.isHostRoot(r) {
		return nil, syscall.ENOENT
	}
	return f.subtreeOf(r.Node), nil
}

// logInterval is the minimum interval between log lines of one kind: readers can provoke any number
// of errors.
const logInterval = time.Minute

// limitedLog logs errors of requests, each kind at most once in logInterval, with the number of
// those that were not logged.
type limitedLog struct {
	log *slog.Logger

	mu    sync.Mutex
	kinds map[string]errorKind
}

type errorKind struct {
	last    time.Time
	skipped int
}

func newLimitedLog(log *slog.Logger) *limitedLog {
	return &limitedLog{log: log, kinds: make(map[string]errorKind)}
}

// Error logs err with the message. There must be few kinds.
func (l *limitedLog) Error(kind, message string, err error) {
	l.mu.Lock()
	k := l.kinds[kind]
	isLogged := time.Since(k.last) >= logInterval
	if isLogged {
		l.kinds[kind] = errorKind{last: time.Now()}
	} else {
		l.kinds[kind] = errorKind{k.last, k.skipped + 1}
	}
	l.mu.Unlock()
	if isLogged { // without the lock: it may block
		l.log.Error(message, "err", err, "more_since_last", k.skipped)
	}
}
