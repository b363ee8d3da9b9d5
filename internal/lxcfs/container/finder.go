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
	"palisade/internal/linux/sys"
)

const (
	// maxContainers bounds the cached containers; there are less if descriptors run out
	// (sys.LimitFiles). At the bound, one of the least recently read ones is dropped.
	maxContainers = 4096
	// recheckAfter is the time after which the cgroup of a leader is checked again.
	recheckAfter = time.Second
)

// Options configure a Finder. The zero value of a field selects the default.
type Options struct {
	// Proc is the mounted procfs, /proc.
	Proc string
	// Known is set to the number of listed containers.
	Known *atomic.Uint64
	Log   *slog.Logger
}

// Finder finds the container of a reader. S is the type of Container.State.
type Finder[S any] struct {
	opts    Options
	proc    sys.File
	cgroups *cgroup.FS
	// The daemon's own namespaces. Those of process 1 may be unreadable.
	hostPidNS, hostMountNS, hostCgroupNS, hostUserNS uint64
	// hostRoot is the daemon's root directory.
	hostRoot sys.Inode
	poller   *sys.Poller // of the leaders' pidfds
	scan     initScan

	// began is the origin of Container.used and checked.
	began time.Time

	mu sync.RWMutex
	// byPIDNS maps inode numbers of pid namespaces, which the containers pin, to the containers of
	// their inits.
	byPIDNS  map[uint64]*Container[S]
	byCgroup map[cgroupKey]*Container[S]
	// listed is the number of containers with Container.listed set.
	listed     int
	principals principals
}

// cgroupKey identifies a container: by a cgroup, and the pid namespace, which the container pins.
type cgroupKey struct {
	pidNS uint64
	path  string
}

// Scratch holds the buffers of a lookup. Only one thread at a time may use it.
type Scratch struct{ path, link, text []byte }

// NewFinder returns a Finder for readers in the daemon's pid namespace and those below it.
func NewFinder[S any](cgroups *cgroup.FS, opts Options) (*Finder[S], error) {
	if opts.Proc == "" {
		opts.Proc = "/proc"
	}
	if opts.Known == nil {
		opts.Known = new(atomic.Uint64)
	}
	proc, err := sys.OpenDir(opts.Proc)
	if err != nil {
		return nil, err
	}
	f := &Finder[S]{
		opts: opts, proc: proc, cgroups: cgroups, began: time.Now(),
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
	} {
		*inode, err = namespace(self, 0, kind, &s)
		// cgroup namespaces are missing before Linux 4.6, and user namespaces are optional.
		isOptional := kind == "cgroup" || kind == "user"
		if err != nil && !(isOptional && errors.Is(err, syscall.ENOENT)) {
			return nil, fmt.Errorf("find own %s namespace: %w", kind, err)
		}
	}
	if f.hostRoot, err = self.StatAt("root/."); err != nil {
		return nil, fmt.Errorf("stat own root directory: %w", err)
	}
	if f.poller, err = sys.NewPoller(); err != nil {
		return nil, err
	}
	f.watchLeaders()
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
		f.setListed(c)
	}
	return c, err
}

func (f *Finder[S]) setListed(c *Container[S]) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.byCgroup[c.key] == c && c.listed.CompareAndSwap(false, true) {
		f.listed++
		f.opts.Known.Store(uint64(f.listed))
	}
}

// findOnHost finds the container of a reader in the daemon's own pid namespace, by its cgroup.
func (f *Finder[S]) findOnHost(tid int, s *Scratch) (*Container[S], error) {
	text, err := f.proc.ReadFileAt(strconv.Itoa(tid)+"/cgroup", s.text)
	s.text = text
	if err != nil {
		return nil, unlessGone(err)
	}
	paths, err := f.cgroups.ParsePaths(text)
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
	text, err := c.leader.cgroup.ReadText(s.text)
	s.text = text
	return err == nil && bytes.Equal(text, c.seen)
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
		f.listed--
		f.opts.Known.Store(uint64(f.listed))
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

// unlessGone returns nil if err is the error for a process that has ended, else err.
func unlessGone(err error) error {
	if errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ESRCH) {
		return nil
	}
	return err
}
