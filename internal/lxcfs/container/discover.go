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
	c, isCurrent := f.cached(pidNS, s)
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

// cached returns the known container of the init of a pid namespace, or nil, and reports whether it
// is still current. The caller must release it.
func (f *Finder[S]) cached(pidNS uint64, s *Scratch) (c *Container[S], isCurrent bool) {
	f.mu.RLock()
	c = f.byPIDNS[pidNS]
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
	mountNS, err := namespace(f.proc, tid, "mnt", s)
	if err != nil {
		init.Release()
		return nil, unlessGone(err)
	}
	if mountNS == f.hostMountNS {
		return init, nil // a process of the host that has entered the pid namespace
	}
	own, err := namespace(init.leader.dir, 0, "mnt", s)
	if err != nil {
		f.drop(init) // it has ended
		return nil, unlessGone(err)
	}
	// Both threads exist now, so equal numbers mean the same namespace.
	if own == mountNS {
		return init, nil
	}
	s.text, err = f.proc.ReadFileAt(strconv.Itoa(int(tid))+"/cgroup", s.text)
	if err != nil {
		init.Release()
		return nil, unlessGone(err)
	}
	if bytes.Equal(s.text, init.seen) {
		return init, nil
	}
	reader, err := f.cgroups.ParsePaths(s.text)
	if err != nil {
		init.Release()
		return nil, err
	}
	if !init.paths.IsAncestorOrSelf(reader) {
		if paths := init.paths.ChildOfCommonAncestor(reader); !paths.IsZero() {
			defer init.Release()
			return f.ofCgroup(init, paths, s)
		}
	}
	return init, nil // in init's cgroup, or above it: a process that entered the namespace
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
	f.mu.RLock()
	stale := f.byCgroup[id.key]
	if stale != nil {
		stale.Acquire()
	}
	f.mu.RUnlock()
	if stale != nil && f.isCurrent(stale, s) {
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
	isInit bool
	pidNS  sys.File
	key    cgroupKey
	paths  cgroup.Paths
	seen   []byte
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
	if id.leader, err = pin(f.proc, init); err != nil {
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
func (f *Finder[S]) setCgroup(id *identity, s *Scratch) (err error) {
	if id.seen, err = id.leader.cgroup.ReadText(nil); err != nil {
		return err
	}
	paths, err := f.cgroups.ParsePaths(id.seen)
	if err != nil {
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
			return f.setSharedCgroup(id, paths, outer)
		}
	}
	ns, err := id.leader.dir.OpenAt("ns/cgroup")
	if err != nil {
		return err
	}
	defer ns.Close()
	var inside []byte
	var readErr error
	// The file's content depends on the reader's cgroup namespace (cgroup_namespaces(7)).
	err = sys.InCgroupNamespace(ns, func() { inside, readErr = id.leader.cgroup.ReadText(nil) })
	if err = errors.Join(err, readErr); err != nil {
		return err
	}
	relative, err := f.cgroups.ParsePaths(inside)
	if err != nil {
		return err
	}
	id.paths = paths.Root(relative)
	return nil
}

// setSharedCgroup sets the cgroup of a container that shares the cgroup namespace of outer, the
// container around it. paths are the leader's cgroups. In a hierarchy in which the leader is in the
// cgroup of outer's init, the container has none of its own, and gets outer's: it may be a sandbox
// without cgroups, or its runtime may not use this hierarchy.
func (f *Finder[S]) setSharedCgroup(id *identity, paths cgroup.Paths, outer *Container[S]) error {
	text, err := outer.leader.cgroup.ReadText(nil) // outer.seen may be a second old
	if err != nil {
		return err
	}
	outerInit, err := f.cgroups.ParsePaths(text)
	if err != nil {
		return err
	}
	id.paths = id.paths.ReplaceWhere(paths, outerInit, outer.paths)
	return nil
}

// outer returns the container of the init of the pid namespace above id's, or nil if that namespace
// is the daemon's or is unknown (before Linux 4.9). The caller must release it.
func (f *Finder[S]) outer(id *identity, s *Scratch) (*Container[S], error) {
	above, err := id.pidNS.ParentNamespace()
	if sys.IsUnknownNamespace(err) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	defer above.Close()
	inode, err := above.Inode()
	if err != nil || inode == f.hostPidNS {
		return nil, err
	}
	// The search for an init is limited before Linux 6.11.
	c, isCurrent := f.cached(inode, s)
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
		p, err := pin(f.proc, tid)
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
