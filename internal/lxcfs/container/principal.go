package container

import (
	"strconv"
	"sync"
	"sync/atomic"

	"palisade/internal/linux/sys"
)

// Principal is charged for the use of shared resources. It is a container including all containers
// nested in it, since it can create any number of these, or a user of the host including all their
// namespaces. There is one Principal for each while it is held, so pointers can be compared. The
// zero Principal need not be held.
type Principal struct {
	// Resting is the time until which no more work is done for the principal, for use by the
	// Finder's owner.
	Resting atomic.Int64

	key   principalKey
	ns    sys.File // pins the namespace of the key
	table *principals
	refs  int // guarded by principals.mu
}

// principalKey identifies a Principal: by the inode number of a pid namespace directly below the
// daemon's, which is pinned; or by the cgroup of a container in the daemon's pid namespace; or by
// uid.
type principalKey struct {
	ns     uint64
	cgroup string
	uid    uint32
}

// Namespace returns the inode number of a container's topmost pid namespace, or 0 for a user or a
// container in the daemon's pid namespace.
func (p *Principal) Namespace() uint64 { return p.key.ns }

// UID returns the uid of a user, or 0 for a container.
func (p *Principal) UID() uint32 { return p.key.uid }

// Acquire holds p until one more Release. The caller must hold it already.
func (p *Principal) Acquire() {
	if p.table == nil {
		return
	}
	p.table.mu.Lock()
	defer p.table.mu.Unlock()
	p.refs++
}

// Release ends one hold of p.
func (p *Principal) Release() {
	if p.table == nil {
		return
	}
	p.table.mu.Lock()
	defer p.table.mu.Unlock()
	if p.refs--; p.refs == 0 {
		delete(p.table.held, p.key)
		if p.ns.IsOpen() {
			p.ns.Close()
			sys.AddReservedFDs(-1)
		}
	}
}

// principals holds all principals in use.
type principals struct {
	mu   sync.Mutex
	held map[principalKey]*Principal
}

// acquire returns the Principal of the key. It takes ownership of ns, which pins the namespace of
// the key.
func (ps *principals) acquire(key principalKey, ns sys.File) *Principal {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	p := ps.held[key]
	if p == nil {
		p = &Principal{key: key, ns: ns, table: ps}
		ps.held[key] = p
		if ns.IsOpen() {
			sys.AddReservedFDs(1)
		}
	} else {
		ns.Close()
	}
	p.refs++
	return p
}

// Principal returns the principal of the thread tid: the user uid if the thread is in the daemon's
// pid namespace or cannot be seen. The caller must release it.
func (f *Finder[S]) Principal(tid, uid uint32) *Principal {
	user := principalKey{uid: uid}
	at, err := f.proc.OpenAt(strconv.Itoa(int(tid)) + "/ns/pid")
	if err != nil {
		return f.principals.acquire(user, sys.File{})
	}
	p, err := f.principalOf(&at)
	at.Close()
	if p == nil || err != nil {
		return f.principals.acquire(user, sys.File{})
	}
	return p
}

// principalOf returns the Principal of processes in the pid namespace ns, or nil if ns is the
// daemon's own. If ns is directly below the daemon's, the Principal takes ownership of it, and *ns
// is zeroed. A namespace that is not below the daemon's counts as a container.
func (f *Finder[S]) principalOf(ns *sys.File) (*Principal, error) {
	inode, err := ns.Inode()
	if err != nil || inode == f.hostPidNS {
		return nil, err
	}
	topmost, above := ns, new(sys.File) // above is closed unless the Principal owns it
	defer func() { above.Close() }()
	for {
		parent, parentInode, err := f.above(*topmost)
		if err != nil {
			return nil, err
		}
		if !parent.IsOpen() {
			break
		}
		above.Close()
		*above, inode, topmost = parent, parentInode, above
	}
	creator, err := topmost.Creator()
	if err != nil {
		return nil, err
	}
	if creator != 0 {
		return f.principals.acquire(principalKey{uid: creator}, sys.File{}), nil
	}
	p := f.principals.acquire(principalKey{ns: inode}, *topmost)
	*topmost = sys.File{}
	return p, nil
}

// Quota bounds the use of a resource by each principal, and by all together. A nil principal is not
// counted.
type Quota struct {
	each, all int

	mu    sync.Mutex
	used  map[*Principal]int
	total int
}

// NewQuota returns a Quota of each uses per principal, and all in total.
func NewQuota(each, all int) *Quota {
	return &Quota{each: each, all: all, used: make(map[*Principal]int)}
}

// Take counts one more use by p, and holds p until Return. At a bound it counts nothing and returns
// false.
func (q *Quota) Take(p *Principal) bool {
	if p == nil {
		return true
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.used[p] >= q.each || q.total >= q.all {
		return false
	}
	q.count(p)
	return true
}

// Add counts one more use by p, which must not be nil, regardless of the bounds.
func (q *Quota) Add(p *Principal) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.count(p)
}

func (q *Quota) count(p *Principal) {
	p.Acquire()
	q.used[p]++
	q.total++
}

// Return counts one use less by p.
func (q *Quota) Return(p *Principal) {
	if p == nil {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.total--
	if q.used[p]--; q.used[p] == 0 {
		delete(q.used, p)
	}
	p.Release()
}

// Used returns the number of counted uses in total.
func (q *Quota) Used() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.total
}
