package container

import (
	"errors"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"

	"palisade/internal/sys"
)

// Principal is to whom is counted what readers take of something that is there for all: a
// container, with all that are inside it, of which it could make itself any number; or a user of
// the host, with all namespaces of theirs. There is one Principal for each as long as it is held,
// so that a pointer to it is its identity. The zero Principal need not be held.
type Principal struct {
	// Resting is for the use of the Finder's owner: the time until which no more work is done for
	// it.
	Resting atomic.Int64

	key   principalKey
	ns    sys.File // pins the namespace of the key
	table *principals
	refs  int // guarded by principals.mu
}

// principalKey is what a Principal is: a pid namespace right below the daemon's, which is pinned;
// else a cgroup that a runtime made, of a container in the daemon's pid namespace; else a user.
type principalKey struct {
	ns     uint64
	cgroup string
	uid    uint32
}

// Namespace is the inode number of the outermost pid namespace of a container, 0 for a user, or a
// container that has none.
func (p *Principal) Namespace() uint64 { return p.key.ns }

// UID is the user, 0 where it is a container.
func (p *Principal) UID() uint32 { return p.key.uid }

// Acquire makes p good until one more Release. The caller must hold it already.
func (p *Principal) Acquire() {
	if p.table == nil {
		return
	}
	p.table.mu.Lock()
	defer p.table.mu.Unlock()
	p.refs++
}

// Release ends the use of p.
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
			sys.CountStaying(-1)
		}
	}
}

// principals are those that are held.
type principals struct {
	mu   sync.Mutex
	held map[principalKey]*Principal
}

// acquire returns the Principal of the key, and takes over ns, which pins the namespace of the key.
func (ps *principals) acquire(key principalKey, ns sys.File) *Principal {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	p := ps.held[key]
	if p == nil {
		p = &Principal{key: key, ns: ns, table: ps}
		ps.held[key] = p
		if ns.IsOpen() {
			sys.CountStaying(1)
		}
	} else {
		ns.Close()
	}
	p.refs++
	return p
}

// Principal is to whom is counted what the thread tid takes, to be released after use. It is the
// user uid, that of the reader, if the thread is in the daemon's own pid namespace or cannot be
// seen.
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

// principalOf is the Principal of who is in the pid namespace ns, which it takes over, and closes
// for the caller, if that is the one right below the daemon's. It is nil if ns is the daemon's own.
// Before Linux 4.9, and where a namespace is not below the daemon, each namespace is a container of
// its own.
func (f *Finder[S]) principalOf(ns *sys.File) (*Principal, error) {
	outermost := *ns
	defer func() {
		if outermost.Fd() != ns.Fd() {
			outermost.Close()
		}
	}()
	inode, err := outermost.Inode()
	if err != nil || inode == f.hostPidNS {
		return nil, err
	}
	for {
		parent, err := outermost.ParentNamespace()
		if isUnknown(err) {
			break
		} else if err != nil {
			return nil, err
		}
		above, err := parent.Inode()
		if err != nil || above == f.hostPidNS {
			parent.Close()
			if err != nil {
				return nil, err
			}
			break
		}
		if outermost.Fd() != ns.Fd() {
			outermost.Close()
		}
		outermost, inode = parent, above
	}
	maker, err := makerOf(outermost)
	if err != nil {
		return nil, err
	}
	if maker != 0 {
		return f.principals.acquire(principalKey{uid: maker}, sys.File{}), nil
	}
	p := f.principals.acquire(principalKey{ns: inode}, outermost)
	if outermost.Fd() == ns.Fd() {
		*ns = sys.File{}
	}
	outermost = *ns
	return p, nil
}

// makerOf is the user who has made the user namespace to which a namespace belongs, or of those
// around that the one right below the daemon's; root for the daemon's own.
func makerOf(ns sys.File) (maker uint32, err error) {
	at, err := ns.UserNamespace()
	if isUnknown(err) {
		return 0, nil
	} else if err != nil {
		return 0, err
	}
	defer func() { at.Close() }()
	for {
		parent, err := at.ParentNamespace()
		if isUnknown(err) {
			return maker, nil
		} else if err != nil {
			return 0, err
		}
		maker, err = at.NamespaceOwner()
		at.Close()
		at = parent
		if err != nil {
			return 0, err
		}
	}
}

// isUnknown reports that a namespace is not to be seen from here, or that the kernel cannot be
// asked for it.
func isUnknown(err error) bool {
	return errors.Is(err, syscall.ENOTTY) || errors.Is(err, syscall.EPERM)
}
