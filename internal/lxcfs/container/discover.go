package container

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"syscall"
	"time"

	"palisade/internal/linux/cgroup"
	"palisade/internal/linux/procfs"
	"palisade/internal/linux/sys"
)

const (
	// maxLeaderCandidates and leaderTime bound the search for the oldest process of a cgroup. The
	// kernel lists the oldest first, unless pids have been reused.
	maxLeaderCandidates = 1024
	leaderTime          = 5 * time.Millisecond
)

// ofInit returns the container of the init of the pid namespace pidNS, in which the thread tid
// lives. The caller must release it.
func (f *Finder[S]) ofInit(pidNS uint64, tid int, s *Scratch) (*Container[S], error) {
	c, isCurrent := cached(f, f.byPIDNS, pidNS, s)
	if isCurrent {
		return c, nil
	}
	return f.replace(c, pidNS, tid)
}

// replace finds the container of the init of a pid namespace, in which the thread tid lives, in
// place of stale, which may be nil.
func (f *Finder[S]) replace(stale *Container[S], pidNS uint64, tid int) (*Container[S], error) {
	id, err := f.identify(tid, pidNS)
	if err != nil {
		f.drop(stale)
		return nil, unlessGone(err)
	}
	return f.keep(id, stale)
}

// cached returns the container with the key in one of the maps of f, or nil, and reports whether it
// is still current. The caller must release it.
func cached[K comparable, S any](
	f *Finder[S], known map[K]*Container[S], key K, s *Scratch,
) (c *Container[S], isCurrent bool) {
	f.mu.RLock()
	c = known[key]
	if c != nil {
		c.Acquire()
	}
	f.mu.RUnlock()
	return c, c != nil && f.isCurrent(c, s)
}

// sibling returns the container of the thread tid, which is in the pid namespace of init: init
// itself, or another container that shares the namespace. It releases init, and the caller must
// release the result.
func (f *Finder[S]) sibling(init *Container[S], tid uint32, s *Scratch) (*Container[S], error) {
	paths, err := f.siblingPaths(init, tid, s)
	if err == nil && paths.IsZero() {
		return init, nil
	}
	defer init.Release()
	if err != nil {
		return nil, unlessGone(err)
	}
	return f.ofCgroup(init, paths, s)
}

// siblingPaths returns the cgroup of the container of the thread tid, none if that is init.
func (f *Finder[S]) siblingPaths(
	init *Container[S], tid uint32, s *Scratch,
) (none cgroup.Paths, err error) {
	mountNS, err := namespace(f.proc, tid, "mnt", s)
	if err != nil || mountNS == f.hostMountNS {
		return none, err // a process of the host that has entered the pid namespace
	}
	own, err := namespace(init.leader.dir, 0, "mnt", s)
	if err != nil {
		f.Forget(init) // it has ended
		return none, err
	}
	// Both threads exist now, so equal numbers mean the same namespace.
	if own == mountNS {
		return none, nil
	}
	s.text, err = f.proc.ReadFileAt(strconv.Itoa(int(tid))+"/cgroup", s.text)
	if err != nil || bytes.Equal(s.text, init.seen) {
		return none, err
	}
	reader, err := f.cgroups.ParsePaths(s.text)
	if err != nil || init.paths.IsAncestorOrSelf(reader) {
		return none, err
	}
	return init.paths.ChildOfCommonAncestor(reader), nil // none above: it entered the namespace
}

// ofCgroup returns the container of a cgroup in the pid namespace of init, or of the daemon if init
// is nil. It returns nil if the cgroup has no process. The caller must release the container.
func (f *Finder[S]) ofCgroup(
	init *Container[S], paths cgroup.Paths, s *Scratch,
) (*Container[S], error) {
	id := identity{key: cgroupKey{f.hostPidNS, paths.Key()}}
	if init != nil {
		id.key.pidNS = init.key.pidNS
	}
	stale, isCurrent := cached(f, f.byCgroup, id.key, s)
	if isCurrent {
		return stale, nil
	}
	var err error
	if init != nil && init.pidNS.IsOpen() {
		id.pidNS, err = init.leader.dir.OpenAt("ns/pid")
	}
	if err == nil {
		err = f.setLeader(&id, paths)
	}
	if err != nil {
		id.close()
		f.drop(stale)
		return nil, unlessGone(err)
	}
	return f.keep(id, stale)
}

// identity identifies a container by its leader, the leader's pid namespace and the cgroup.
type identity struct {
	leader Process
	// pidNS pins the pid namespace, so that its inode number is not reused. It is not open if the
	// namespace is the daemon's own. isInit reports that the leader is the init of that namespace.
	pidNS  sys.File
	isInit bool
	key    cgroupKey
	// paths is the container's cgroup, seen the content of the leader's cgroup file at that time.
	paths cgroup.Paths
	seen  []byte
}

func (id *identity) close() {
	id.leader.Close()
	id.pidNS.Close()
}

// identify finds the container of the init of the pid namespace with the inode number pidNS, in
// which the thread tid lives.
func (f *Finder[S]) identify(tid int, pidNS uint64) (id identity, err error) {
	defer func() {
		if err != nil {
			id.close()
			err = fmt.Errorf("find the container of thread %d: %w", tid, err)
		}
	}()
	if id.pidNS, err = f.proc.OpenAt(strconv.Itoa(tid) + "/ns/pid"); err != nil {
		return id, err
	}
	inode, err := id.pidNS.Inode()
	if err != nil {
		return id, err
	}
	if inode != pidNS {
		return id, syscall.ESRCH // the number is another thread's by now
	}
	init, err := f.namespaceInit(id.pidNS, pidNS, tid)
	if err != nil {
		return id, err
	}
	if id.leader, err = f.Pin(init); err != nil {
		return id, err
	}
	var s Scratch
	if inode, err = namespace(id.leader.dir, 0, "pid", &s); err != nil {
		return id, err
	}
	if inode != pidNS {
		return id, syscall.ESRCH
	}
	err = f.setCgroup(&id, &s)
	id.isInit, id.key = true, cgroupKey{pidNS, id.paths.Key()}
	return id, err
}

// setCgroup sets the cgroup of the leader's container: the root of the leader's cgroup namespace if
// that is its own. If the namespace is shared with the init of the pid namespace above, or is the
// daemon's, it is the leader's cgroup without a last init.scope, in which systemd puts itself.
//
// In a hierarchy in which the leader is in the cgroup of the init above, the container has none of
// its own, and gets that of the container above: it may be a sandbox without cgroups, or its
// runtime may not use this hierarchy.
func (f *Finder[S]) setCgroup(id *identity, s *Scratch) (err error) {
	var paths cgroup.Paths
	if id.seen, paths, err = f.readPaths(id.leader); err != nil {
		return err
	}
	id.paths = paths.TrimInit()
	inode, err := namespace(id.leader.dir, 0, "cgroup", s)
	if err != nil || inode == f.hostCgroupNS {
		return unlessGone(err)
	}
	outer, err := f.outer(id, s)
	if err != nil {
		return err
	}
	if outer != nil {
		defer outer.Release()
		outerInode, err := namespace(outer.leader.dir, 0, "cgroup", s)
		if err != nil {
			return err
		}
		// Both inits exist now, so equal numbers mean the same namespace.
		if outerInode == inode {
			_, outerInit, err := f.readPaths(outer.leader) // outer.seen may be a second old
			if err != nil {
				return err
			}
			id.paths = id.paths.ReplaceWhere(paths, outerInit, outer.paths)
			return nil
		}
	}
	ns, err := id.leader.dir.OpenAt("ns/cgroup")
	if err != nil {
		return err
	}
	defer ns.Close()
	var inside cgroup.Paths
	var readErr error
	// The file's content depends on the reader's cgroup namespace (cgroup_namespaces(7)).
	err = sys.InCgroupNamespace(ns, func() { _, inside, readErr = f.readPaths(id.leader) })
	if err = errors.Join(err, readErr); err == nil {
		id.paths = paths.Root(inside)
	}
	return err
}

// readPaths returns the content of the cgroup file of a process, and the cgroups in it.
func (f *Finder[S]) readPaths(p Process) (text []byte, paths cgroup.Paths, err error) {
	if text, err = p.cgroup.ReadText(nil); err == nil {
		paths, err = f.cgroups.ParsePaths(text)
	}
	return text, paths, err
}

// above returns the pid namespace above ns and its inode number. The file is not open if that is
// the daemon's, or ns is not below the daemon's. The caller must close it.
func (f *Finder[S]) above(ns sys.File) (above sys.File, inode uint64, err error) {
	if above, err = ns.ParentNamespace(); sys.IsUnknownNamespace(err) {
		return sys.File{}, 0, nil
	}
	if err == nil {
		inode, err = above.Inode()
	}
	if err != nil || inode == f.hostPidNS {
		above.Close()
	}
	return above, inode, err
}

// outer returns the container of the init of the pid namespace above id's, or nil if that namespace
// is the daemon's. The caller must release it.
func (f *Finder[S]) outer(id *identity, s *Scratch) (*Container[S], error) {
	above, inode, err := f.above(id.pidNS)
	if err != nil || !above.IsOpen() {
		return nil, err
	}
	defer above.Close()
	// The search for an init is limited before Linux 6.11.
	c, isCurrent := cached(f, f.byPIDNS, inode, s)
	if isCurrent {
		return c, nil
	}
	init, err := f.namespaceInit(above, inode, id.leader.parent)
	if err != nil {
		f.drop(c)
		return nil, err
	}
	c, err = f.replace(c, inode, init)
	if c == nil && err == nil {
		err = syscall.ESRCH // it has ended, and with it the leader
	}
	return c, err
}

// setLeader makes the oldest process of the cgroup the leader of id.
func (f *Finder[S]) setLeader(id *identity, paths cgroup.Paths) error {
	group := f.cgroups.Open(paths)
	defer group.Close()
	until := time.Now().Add(leaderTime)
	threads, err := group.Threads(nil, maxLeaderCandidates, until, new(cgroup.Scratch))
	if err != nil {
		return err
	}
	var oldest Process
	for _, tid := range threads {
		if oldest.pid != 0 && time.Now().After(until) {
			break
		}
		stat, _, err := procfs.ReadTaskStatIn(f.proc, tid, nil)
		if err != nil || oldest.pid != 0 && stat.Start >= oldest.start {
			continue
		}
		p, err := f.Pin(tid)
		if err != nil {
			continue // ended, or not the first thread of its process
		}
		oldest.Close()
		oldest = p
	}
	if oldest.pid == 0 {
		return fmt.Errorf("find a process in cgroup %s: %w", paths.Name(), syscall.ESRCH)
	}
	id.leader, id.paths = oldest, paths
	id.seen, err = oldest.cgroup.ReadText(nil)
	return err
}
