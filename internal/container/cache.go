package container

import (
	"fmt"

	"palisade/internal/cgroup"
)

// make finds the container that stands for a cgroup in the daemon's own pid namespace.
func (f *Finder[S]) make(key cgroupKey, paths cgroup.Paths, stale *Container[S]) (*Container[S], error) {
	id := identity{key: key}
	if err := f.lead(&id, paths); err != nil {
		id.close()
		f.drop(stale)
		return nil, unlessGone(err)
	}
	return f.keep(id, stale)
}

// keep puts what was found into the cache and returns it, held for the caller. stale, held too, is what it replaces: its
// state goes on where the leader is the same process.
func (f *Finder[S]) keep(id identity, stale *Container[S]) (*Container[S], error) {
	c := &Container[S]{
		State: new(S), leader: id.leader, key: id.key, paths: id.paths, seen: id.seen, pidNS: id.pidNS,
		Group: f.cgroups.Open(id.paths),
	}
	if stale != nil && stale.leader.pid == c.leader.pid && stale.leader.start == c.leader.start {
		c.State = stale.State
	}
	now := f.clock()
	c.used.Store(now)
	c.checked.Store(now)
	c.refs.Store(2) // the cache's and the caller's
	f.drop(stale)

	f.mu.Lock()
	if other := f.byCgroup[id.key]; other != nil { // somebody else found it meanwhile
		other.Acquire()
		f.mu.Unlock()
		c.refs.Store(1)
		c.Release()
		return other, nil
	}
	victims := f.makeRoom(c)
	f.byCgroup[id.key] = c
	f.opts.Known.Store(uint64(len(f.byCgroup)))
	f.mu.Unlock()
	for _, victim := range victims {
		victim.Release()
	}
	f.opts.Log.Debug("container found", "cgroup", c.Name(), "init", c.InitPID(), "pid_namespace", id.key.pidNS)
	if err := f.watch.add(c.leader); err != nil {
		f.drop(c)
		return nil, fmt.Errorf("watch process %d: %w", c.leader.pid, err)
	}
	return c, nil
}

// drop ends the caller's use of c, which may be nil, and the cache's.
func (f *Finder[S]) drop(c *Container[S]) {
	if c != nil {
		f.Forget(c)
		c.Release()
	}
}

// makeRoom takes containers out of the cache, each to be released, where there are too many for another; f.mu is held.
func (f *Finder[S]) makeRoom(c *Container[S]) (victims []*Container[S]) {
	n := 0
	switch {
	case c.leader.cgroup.Fd() >= f.opts.MaxFile:
		n = 2 // one for the next container too: the numbers that are free then are low, and so is its own
	case len(f.byCgroup) >= f.opts.Max:
		n = 1
	}
	for range min(n, len(f.byCgroup)) {
		victim := f.leastUsed()
		f.remove(victim)
		victims = append(victims, victim)
	}
	return victims
}

// leastUsed is the container that has not been read for longest; f.mu is held.
func (f *Finder[S]) leastUsed() *Container[S] {
	var victim *Container[S]
	for _, c := range f.byCgroup {
		if victim == nil || c.used.Load() < victim.used.Load() {
			victim = c
		}
	}
	return victim
}

// leaderGone forgets the containers whose leader had the pid and has ended.
func (f *Finder[S]) leaderGone(pid int) {
	for _, c := range f.All() {
		if c.leader.pid == pid && !c.leader.alive() {
			f.Forget(c)
		}
		c.Release()
	}
}

// All returns the containers that are known, each to be released.
func (f *Finder[S]) All() []*Container[S] {
	f.mu.RLock()
	defer f.mu.RUnlock()
	all := make([]*Container[S], 0, len(f.byCgroup))
	for _, c := range f.byCgroup {
		c.Acquire()
		all = append(all, c)
	}
	return all
}

// Len is the number of containers that are known.
func (f *Finder[S]) Len() int {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return len(f.byCgroup)
}
