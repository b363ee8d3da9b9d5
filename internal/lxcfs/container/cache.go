package container

import (
	"time"

	"palisade/internal/linux/sys"
)

// keep caches the container of id and returns it; the caller must release it. stale, which may be
// nil and is released, is the container that it replaces. Its State is kept if the leader is the
// same.
func (f *Finder[S]) keep(id identity, stale *Container[S]) (*Container[S], error) {
	c := &Container[S]{identity: id, State: new(S)}
	if err := f.setPrincipal(c); err != nil {
		id.close()
		f.drop(stale)
		return nil, unlessGone(err)
	}
	c.Group = f.cgroups.Open(id.paths)
	if stale != nil && stale.leader.pid == c.leader.pid && stale.leader.start == c.leader.start {
		c.State = stale.State
	}
	now := f.clock()
	c.used.Store(now)
	c.checked.Store(now)
	f.drop(stale)
	files := filesOfLeader
	if c.ownsPIDNS() {
		files++
	}
	if !sys.ReserveFDs(files) {
		c.refs.Store(1) // not cached: no descriptors are left
		return c, nil
	}
	c.reserved = files
	c.refs.Store(2) // the cache's and the caller's

	f.mu.Lock()
	if other := f.byCgroup[id.key]; other != nil { // another thread found it meanwhile
		other.Acquire()
		if c.isInit && other.leader.pid == c.leader.pid {
			f.byPIDNS[id.key.pidNS] = other
		}
		f.mu.Unlock()
		c.refs.Store(1)
		c.Release()
		return other, nil
	}
	f.byCgroup[id.key] = c
	if c.isInit {
		f.byPIDNS[id.key.pidNS] = c
	}
	isFull := len(f.byCgroup) > maxContainers
	f.mu.Unlock()
	if isFull {
		f.Evict()
	}
	f.log.Debug("container found",
		"cgroup", c.Name(), "init", c.InitPID(), "pid_namespace", id.key.pidNS)
	return c, nil
}

// filesOfLeader is the number of descriptors of a Process.
const filesOfLeader = 3

// setPrincipal sets c.principal, which may take ownership of c.pidNS.
func (f *Finder[S]) setPrincipal(c *Container[S]) (err error) {
	if !c.pidNS.IsOpen() {
		c.principal = f.principals.acquire(principalKey{cgroup: c.key.path}, sys.File{})
		return nil
	}
	ns := c.pidNS
	if c.principal, err = f.principalOf(&ns); err == nil && !ns.IsOpen() {
		c.pidNS = c.principal.ns
	}
	return err
}

// drop ends the caller's use of c, which may be nil, and the cache's.
func (f *Finder[S]) drop(c *Container[S]) {
	if c != nil {
		f.Forget(c)
		c.Release()
	}
}

// sweepInterval is the interval of checks for containers whose leader has ended.
const sweepInterval = time.Second

// sweep forgets the containers whose leader has ended.
func (f *Finder[S]) sweep() {
	var pidfds []sys.File
	for range time.Tick(sweepInterval) {
		all := f.filter(func(*Container[S]) bool { return true })
		pidfds = pidfds[:0]
		for _, c := range all {
			pidfds = append(pidfds, c.leader.pidfd)
		}
		ended := sys.ReadyFiles(pidfds)
		for i, c := range all {
			if ended[i] || !pidfds[i].IsOpen() && !c.leader.IsAlive() {
				f.Forget(c)
			}
			c.Release()
		}
	}
}

// maxCompared bounds the number of containers that Evict compares.
const maxCompared = 256

// Evict removes one of the least recently read containers from the cache. It reports whether there
// was one.
func (f *Finder[S]) Evict() bool {
	var victim *Container[S]
	compared := 0
	f.mu.RLock()
	for _, c := range f.byCgroup { // starts at a random place
		if victim == nil || c.used.Load() < victim.used.Load() {
			victim = c
		}
		if compared++; compared == maxCompared {
			break
		}
	}
	if victim != nil {
		victim.Acquire()
	}
	f.mu.RUnlock()
	f.drop(victim)
	return victim != nil
}

// All returns the listed containers. The caller must release each.
func (f *Finder[S]) All() []*Container[S] {
	return f.filter(func(c *Container[S]) bool { return c.listed.Load() })
}

func (f *Finder[S]) filter(wanted func(*Container[S]) bool) []*Container[S] {
	f.mu.RLock()
	defer f.mu.RUnlock()
	found := make([]*Container[S], 0, len(f.byCgroup))
	for _, c := range f.byCgroup {
		if wanted(c) {
			c.Acquire()
			found = append(found, c)
		}
	}
	return found
}

// Len returns the number of listed containers.
func (f *Finder[S]) Len() int { return int(f.known.Load()) }
