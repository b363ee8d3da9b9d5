package shift

import (
	"sync"
	"sync/atomic"

	"palisade/internal/linux/sys"
	"palisade/internal/userns/walk"
)

// dirCache holds what the scan has found of a directory and the files in it. It is valid while the
// directory's ctime is the same: each change of the directory or of its names updates that.
type dirCache struct {
	ctime sys.Time
	// isSpecial reports that the directory has attributes that a shift changes or uses.
	isSpecial bool
	// listing has the code CodeUnknown for files that must be looked at again, and a code of
	// ownerCodes for those that have nothing to change but the owner.
	listing walk.Listing
}

// owner is the owner and group of a file.
type owner struct{ uid, gid uint32 }

// ownerCodes assigns codes for a walk.Listing to owners.
type ownerCodes struct {
	mu    sync.Mutex
	codes map[owner]uint16
	list  []owner
}

// code returns the code of an owner, or CodeUnknown if there are no more codes.
func (c *ownerCodes) code(o owner) uint16 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if code, ok := c.codes[o]; ok {
		return code
	}
	code := walk.FirstCode + len(c.list)
	if code > 1<<16-1 {
		return walk.CodeUnknown
	}
	c.codes[o] = uint16(code)
	c.list = append(c.list, o)
	return uint16(code)
}

// owner returns the owner with a code. It must not run at the same time as code.
func (c *ownerCodes) owner(code uint16) owner { return c.list[code-walk.FirstCode] }

// Limits of a treeCache, in directories and in bytes of names. What exceeds them is read again.
const (
	maxCachedDirs  = 100_000
	maxCachedBytes = 16 << 20
)

// treeCache holds the dirCaches of a tree.
type treeCache struct {
	owners ownerCodes
	size   atomic.Int64

	mu   sync.Mutex
	dirs map[walk.InodeKey]*dirCache
}

func newTreeCache() *treeCache {
	return &treeCache{dirs: make(map[walk.InodeKey]*dirCache),
		owners: ownerCodes{codes: make(map[owner]uint16)}}
}

// add adds a directory. It returns nil if the cache is full.
func (c *treeCache) add(i *sys.Inode) *dirCache {
	if c.size.Load() > maxCachedBytes {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.dirs) >= maxCachedDirs {
		return nil
	}
	d := &dirCache{ctime: i.Changed}
	c.dirs[walk.KeyOf(i)] = d
	return d
}

// settleTime is the minimum time in ns between the last change of a file and the scan. ctime is as
// coarse as the kernel's clock tick of at most 10 ms.
const settleTime = 100_000_000

// take removes and returns the cache of a directory, nil if there is none or the directory may have
// changed since the scan began.
func (c *treeCache) take(i *sys.Inode, scanned sys.Time) *dirCache {
	c.mu.Lock()
	key := walk.KeyOf(i)
	d := c.dirs[key]
	delete(c.dirs, key)
	c.mu.Unlock()
	if d == nil || !d.listing.IsComplete() || d.ctime != i.Changed ||
		i.Changed.Until(scanned) < settleTime {
		return nil
	}
	return d
}

// cacheWriter collects the entries of one worker.
type cacheWriter struct {
	cache *treeCache
	buf   []byte
	// slab is where small pieces of memory are taken from.
	slab []byte
	// last is the last owner, since most files have the same, and lastCode its code.
	last     owner
	lastCode uint16
}

const slabSize = 64 << 10

func (c *cacheWriter) add(name sys.Name, code uint16) {
	c.buf = walk.AppendEntry(c.buf, name, code)
}

func (c *cacheWriter) addOwner(name sys.Name, o owner) {
	if c.lastCode == 0 || o != c.last {
		c.last, c.lastCode = o, c.cache.owners.code(o)
	}
	c.add(name, c.lastCode)
}

// flush stores the collected entries in chunk, which may be nil.
func (c *cacheWriter) flush(chunk *walk.Chunk) {
	size := len(c.buf)
	switch {
	case chunk == nil:
	case c.cache.size.Add(int64(size)) > maxCachedBytes:
		chunk.SetLost()
	case size > 0:
		if cap(c.slab)-len(c.slab) < size {
			c.slab = make([]byte, 0, max(slabSize, size))
		}
		at := len(c.slab)
		c.slab = append(c.slab, c.buf...)
		chunk.Set(c.slab[at : at+size : at+size])
	}
	c.buf = c.buf[:0]
}
