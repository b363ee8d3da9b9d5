package container

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"palisade/internal/linux/cgroup"
	"palisade/internal/linux/procfs"
	"palisade/internal/linux/sys"
)

const (
	// maxContainers bounds the cached containers; there are less if descriptors run out
	// (sys.LimitFiles). At the bound, one of the least recently read ones is dropped.
	maxContainers = 4096
	// recheckAfter is the time after which the cgroup of a leader is checked again.
	recheckAfter = time.Second
)

// Finder finds the container of a reader. S is the type of Container.State.
type Finder[S any] struct {
	cgroups *cgroup.FS
	proc    sys.File
	known   *atomic.Uint64 // the number of containers with Container.listed set
	log     *slog.Logger
	// The daemon's own namespaces. Those of process 1 may be unreadable.
	hostPidNS, hostMountNS, hostCgroupNS, hostUserNS, hostTimeNS uint64
	// hostBootOffset is the offset of CLOCK_BOOTTIME of the daemon's time namespace.
	hostBootOffset time.Duration
	// hostRoot is the daemon's root directory.
	hostRoot sys.Inode
	scan     initScan

	// began is the origin of Container.used and checked.
	began time.Time

	mu sync.RWMutex
	// byPIDNS maps inode numbers of pid namespaces, which the containers pin, to the containers of
	// their inits.
	byPIDNS    map[uint64]*Container[S]
	byCgroup   map[cgroupKey]*Container[S]
	principals principals
}

// cgroupKey identifies a container: by a cgroup, and the pid namespace, which the container pins.
type cgroupKey struct {
	pidNS uint64
	path  string
}

// Scratch holds the buffers of a lookup. Only one thread at a time may use it.
type Scratch struct{ path, link, text []byte }

// NewFinder returns a Finder for readers in the daemon's pid namespace and those below it. proc is
// the host's /proc. known is 0, and then the number of listed containers.
func NewFinder[S any](
	cgroups *cgroup.FS, proc sys.File, known *atomic.Uint64, log *slog.Logger,
) (*Finder[S], error) {
	f := &Finder[S]{
		cgroups: cgroups, proc: proc, known: known, log: log, began: time.Now(),
		byPIDNS:  make(map[uint64]*Container[S]),
		byCgroup: make(map[cgroupKey]*Container[S]),
	}
	f.principals.held = make(map[principalKey]*Principal)
	var s Scratch
	self, err := proc.OpenDirAt("self")
	if err != nil {
		return nil, err
	}
	defer self.Close()
	for kind, inode := range map[string]*uint64{
		"pid": &f.hostPidNS, "mnt": &f.hostMountNS, "cgroup": &f.hostCgroupNS, "user": &f.hostUserNS,
		"time": &f.hostTimeNS,
	} {
		*inode, err = namespace(self, 0, kind, &s)
		isOptional := kind == "user" || kind == "time" // by the kernel's configuration
		if err != nil && !(isOptional && errors.Is(err, syscall.ENOENT)) {
			return nil, fmt.Errorf("find own %s namespace: %w", kind, err)
		}
	}
	if f.hostRoot, err = self.StatAt("root/."); err != nil {
		return nil, fmt.Errorf("stat own root directory: %w", err)
	}
	if f.hostTimeNS != 0 {
		if f.hostBootOffset, err = procfs.ReadBootOffset(self); err != nil {
			return nil, err
		}
	}
	go f.sweep()
	return f, nil
}

// Find returns the container of the thread tid, or nil if the thread is the host's or is invisible
// in the daemon's pid namespace (tid 0). The caller must release it. The thread must be waiting for
// a reply, so that its id is not reused.
func (f *Finder[S]) Find(tid uint32, s *Scratch) (*Container[S], error) {
	if tid == 0 {
		return nil, nil
	}
	pidNS, err := namespace(f.proc, tid, "pid", s)
	if err != nil {
		return nil, unlessGone(err)
	}
	var c *Container[S]
	if pidNS == f.hostPidNS {
		c, err = f.findOnHost(int(tid), s)
	} else if c, err = f.ofInit(pidNS, int(tid), s); c != nil {
		c, err = f.sibling(c, tid, s)
	}
	if c != nil && !c.listed.Load() {
		f.mu.Lock()
		if f.byCgroup[c.key] == c && c.listed.CompareAndSwap(false, true) {
			f.known.Add(1)
		}
		f.mu.Unlock()
	}
	return c, err
}

// Hint says where the container of other threads was found that have the same seccomp filter.
type Hint struct {
	pidNS uint64
	key   cgroupKey
}

// FindByHint is like Find for a thread with a seccomp filter that a runtime has installed for one
// container: threads with the filter that are in one pid namespace belong to one container. It looks
// only at the pid namespace of the thread if hint has that of another one.
func (f *Finder[S]) FindByHint(
	tid uint32, hint *atomic.Pointer[Hint], s *Scratch,
) (*Container[S], error) {
	if tid == 0 {
		return nil, nil
	}
	pidNS, err := namespace(f.proc, tid, "pid", s)
	if err != nil {
		return nil, unlessGone(err)
	}
	if h := hint.Load(); h != nil && h.pidNS == pidNS {
		c, isCurrent := cached(f, f.byCgroup, h.key, s)
		if isCurrent {
			return c, nil
		}
		if c != nil {
			c.Release()
		}
	}
	c, err := f.Find(tid, s)
	if c != nil && pidNS != f.hostPidNS {
		hint.Store(&Hint{pidNS, c.key})
	}
	return c, err
}

// findOnHost finds the container of a reader in the daemon's own pid namespace, by its cgroup.
func (f *Finder[S]) findOnHost(tid int, s *Scratch) (*Container[S], error) {
	var err error
	if s.text, err = f.proc.ReadFileAt(strconv.Itoa(tid)+"/cgroup", s.text); err != nil {
		return nil, unlessGone(err)
	}
	paths, err := f.cgroups.ParsePaths(s.text)
	if err != nil {
		return nil, err
	}
	made := paths.Map(func(path string) string { return runtimeMade(path, runtimeStates) })
	if made.IsZero() {
		return nil, nil
	}
	return f.ofCgroup(nil, made, s)
}

// isCurrent reports whether c's leader is still in the same cgroup. It checks at most once in
// recheckAfter.
func (f *Finder[S]) isCurrent(c *Container[S], s *Scratch) bool {
	now := f.clock()
	c.used.Store(now)
	checked := c.checked.Load()
	if now-checked < int64(recheckAfter) || !c.checked.CompareAndSwap(checked, now) {
		return true
	}
	var err error
	s.text, err = c.leader.cgroup.ReadText(s.text)
	return err == nil && bytes.Equal(s.text, c.seen)
}

// clock returns the time since the Finder was made, in nanoseconds.
func (f *Finder[S]) clock() int64 { return int64(time.Since(f.began)) }

// Forget removes c from the cache, so that the next reader's container is looked up again.
func (f *Finder[S]) Forget(c *Container[S]) {
	f.mu.Lock()
	known := f.byCgroup[c.key] == c
	if known {
		f.remove(c)
	}
	f.mu.Unlock()
	if known {
		c.Release()
	}
}

// remove removes c from the maps; f.mu is held for writing. The caller must release the cache's
// hold.
func (f *Finder[S]) remove(c *Container[S]) {
	delete(f.byCgroup, c.key)
	if f.byPIDNS[c.key.pidNS] == c {
		delete(f.byPIDNS, c.key.pidNS)
	}
	if c.listed.Load() {
		f.known.Add(^uint64(0))
	}
}

// namespace returns the inode number of a namespace of the thread tid below dir, or if tid is 0, of
// the process whose directory is dir.
func namespace(dir sys.File, tid uint32, kind string, s *Scratch) (uint64, error) {
	s.path = s.path[:0]
	if tid != 0 {
		s.path = append(strconv.AppendUint(s.path, uint64(tid), 10), '/')
	}
	s.path = append(append(append(s.path, "ns/"...), kind...), 0)
	if s.link == nil {
		s.link = make([]byte, 64)
	}
	return dir.ReadNamespace(s.path, s.link)
}

// readStatus reads the status of the thread tid.
func readStatus(proc sys.File, tid int, s *Scratch) (status procfs.TaskStatus, err error) {
	if s.text, err = proc.ReadFileAt(strconv.Itoa(tid)+"/status", s.text); err == nil {
		status, err = procfs.ParseTaskStatus(s.text)
	}
	return status, err
}

// unlessGone returns nil if err is the error for a process that has ended, else err.
func unlessGone(err error) error {
	if errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ESRCH) {
		return nil
	}
	return err
}

// IsOwn reports whether the thread tid is in the daemon's user, pid and mount namespaces, and so in
// no container, regardless of its cgroup. The thread must be waiting for a reply.
func (f *Finder[S]) IsOwn(tid uint32) bool {
	if !f.hasOwnIDs(tid) {
		return false
	}
	mountNS, err := namespace(f.proc, tid, "mnt", new(Scratch))
	return err == nil && mountNS == f.hostMountNS
}

// IsHostProcess reports whether the thread tid is in the daemon's user and pid namespaces and has
// the daemon's root directory. It may have its own mount namespace, as services with systemd's
// PrivateTmp= and ProtectSystem= do. The thread must be waiting for a reply, so that its pid is not
// reused.
func (f *Finder[S]) IsHostProcess(tid uint32) bool {
	if !f.hasOwnIDs(tid) {
		return false
	}
	root, err := f.proc.StatAt(strconv.Itoa(int(tid)) + "/root/.")
	return err == nil && f.IsHostRoot(root)
}

// Capabilities returns the effective capabilities of the thread tid, none if it is in another user
// namespace than the daemon. The thread must be waiting for a reply.
func (f *Finder[S]) Capabilities(tid uint32) uint64 {
	if tid == 0 || !f.hasOwnUserNS(tid) {
		return 0
	}
	status, err := readStatus(f.proc, int(tid), new(Scratch))
	if err != nil {
		return 0
	}
	return status.Capabilities
}

// IsHostRoot reports whether a directory is the daemon's root directory.
func (f *Finder[S]) IsHostRoot(dir sys.Inode) bool {
	return dir.Number == f.hostRoot.Number && dir.FileSystem == f.hostRoot.FileSystem
}

func (f *Finder[S]) hasOwnIDs(tid uint32) bool {
	if tid == 0 {
		return false
	}
	pidNS, err := namespace(f.proc, tid, "pid", new(Scratch))
	if err != nil || pidNS != f.hostPidNS {
		return false
	}
	return f.hasOwnUserNS(tid)
}

func (f *Finder[S]) hasOwnUserNS(tid uint32) bool {
	userNS, err := namespace(f.proc, tid, "user", new(Scratch))
	if errors.Is(err, syscall.ENOENT) {
		return f.hostUserNS == 0 // this kernel has none
	}
	return err == nil && userNS == f.hostUserNS
}
