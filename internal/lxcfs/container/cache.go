package container

import (
	"fmt"

	"palisade/internal/linux/sys"
)

// keep caches the container of id and returns it; the caller must release it. stale, which may be
// nil and is released, is the container that it replaces. Its State is kept if the leader is the
// same.
func (f *Finder[S]) keep(id identity, stale *Container[S]) (*Container[S], error) {
	c := &Container[S]{
		State: new(S), leader: id.leader, isInit: id.isInit,
		key: id.key, paths: id.paths, seen: id.seen, pidNS: id.pidNS,
	}
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
	if c.reserved = sys.ReserveFDs(filesOfContainer); !c.reserved {
		c.refs.Store(1) // not cached: no descriptors are left
		return c, nil
	}
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
	f.opts.Log.Debug("container found",
		"cgroup", c.Name(), "init", c.InitPID(), "pid_namespace", id.key.pidNS)
	if err := f.watch(c.leader); err != nil {
		f.drop(c)
		return nil, fmt.Errorf("watch process %d: %w", c.leader.pid, err)
	}
	return c, nil
}

// filesOfContainer is the number of descriptors of a Container, without those of its Group and its
// Principal.
const filesOfContainer = 4

// setPrincipal sets c.principal, which may take ownership of c.pidNS.
func (f *Finder[S]) setPrincipal(c *Container[S]) (err error) {
	if !c.pidNS.IsOpen() {
		c.principal = f.principals.acquire(principalKey{cgroup: c.key.path}, sys.File{})
		return nil
	}
	ns := c.pidNS
	if c.principal, err = f.principalOf(&ns); err != nil {
		return err
	}
	if c.ownsPIDNS = ns.IsOpen(); !c.ownsPIDNS {
		c.pidNS = c.principal.ns
	}
	return nil
}

// drop ends the caller's use of c, which may be nil, and the cache's.
func (f *Finder[S]) drop(c *Container[S]) {
	if c != nil {
		f.Forget(c)
		c.Release()
	}
}

// Evict removes one of the least recently read containers from the cache. It reports whether there
// was one.
func (f *Finder[S]) Evict() bool {
	f.mu.Lock()
	victim := f.leastUsed()
	if victim != nil {
		f.remove(victim)
	}
	f.mu.Unlock()
	if victim != nil {
		victim.Release()
	}
	return victim != nil
}

// maxCompared bounds the number of containers that leastUsed compares.
const maxCompared = 256

// leastUsed returns the least recently read of up to maxCompared containers, or nil if there is
// none. f.mu is held.
func (f *Finder[S]) leastUsed() *Container[S] {
	var victim *Container[S]
	compared := 0
	for _, c := range f.byCgroup { // starts at a random place
		if victim == nil || c.used.Load() < victim.used.Load() {
			victim = c
		}
		if compared++; compared == maxCompared {
			break
		}
	}
	return victim
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
func (f *Finder[S]) Len() int {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.listed
}
