package openfile

import "time"

const (
	// preparedTime is the time for which a prepared content is valid.
	preparedTime = 5 * time.Second
	// maxSearched bounds the open files of a node that LastOpened searches, and maxPeers the threads
	// whose process is looked up.
	maxSearched = 64
	maxPeers    = 8
)

// IsPeer reports whether two threads are of one process. tid is waiting for a reply.
type IsPeer func(tid, other uint32) bool

// File is an open file as it was when a request arrived. A request that blocks is answered by
// another thread, and may return after its file was closed and the handle was reused: it has
// another generation then, and the methods do nothing. The zero File has no handle.
type File struct {
	t          *Table
	h          *handle
	number     uint64
	generation uint64
}

func (t *Table) file(h *handle, number uint64) File {
	if h == nil {
		return File{}
	}
	return File{t, h, number, h.generation.Load()}
}

// HasHandle reports whether the table has the file.
func (f File) HasHandle() bool { return f.h != nil }

// Invalidate returns the file for the thread that answers instead of a blocked request, which has no
// effect on the file any more.
func (f File) Invalidate() File {
	if f.h != nil {
		f.generation = f.h.generation.Add(1)
	}
	return f
}

// Lock locks the file, for Attachment and Attach. It returns false, and locks nothing, if the
// request has no file any more.
func (f File) Lock() bool {
	if f.h == nil {
		return false
	}
	f.h.mu.Lock()
	if f.h.generation.Load() != f.generation {
		f.h.mu.Unlock()
		return false
	}
	return true
}

// Unlock is the inverse of Lock.
func (f File) Unlock() { f.h.mu.Unlock() }

// Attachment returns what is attached to the file, or nil.
func (f File) Attachment() Attachment { return f.h.attachment }

// Attach attaches a to the file.
func (f File) Attach(a Attachment) { f.h.attachment = a }

// Class returns the class of the file's requests, which find finds for the first one with a handle.
// find returns 0 if it does not know.
func (f File) Class(find func() uint64) uint64 {
	if f.h == nil {
		return find()
	}
	class := f.h.class.Load()
	if class == 0 {
		class = find()
		f.h.class.Store(class)
	}
	return class
}

// Keep keeps the content that a reader has begun with, of which it got the first bytes.
func (f File) Keep(content []byte, got int) {
	if f.Lock() {
		defer f.Unlock()
		f.h.prepared = 0
		f.keep(content, got, false)
	}
}

// keep keeps the content if there is room for it; the file is locked.
func (f File) keep(content []byte, got int, isPrepared bool) {
	h := f.h
	f.t.reads.Keep(f.number, content, got, isPrepared)
	h.length = uint64(len(content))
	more := int64(len(content) - len(h.content))
	if f.t.kept.Add(more) > maxKept && more > 0 {
		f.t.kept.Add(-more - int64(len(h.content)))
		h.content = h.content[:0]
		return
	}
	h.content = append(h.content[:0], content...)
}

// AppendKept appends at most size bytes of the kept content from offset on to dst. It returns false
// if they are unknown: of a content that is not kept only the end is known, and a prepared one may
// be for another reader.
func (f File) AppendKept(dst []byte, offset uint64, size int) ([]byte, bool) {
	if !f.Lock() {
		return dst, false
	}
	defer f.Unlock()
	h := f.h
	if h.prepared != 0 {
		return dst, false
	}
	if len(h.content) == 0 {
		return dst, offset > 0 && h.length > 0 && offset >= h.length
	}
	rest := h.content[min(offset, uint64(len(h.content))):]
	return append(dst, rest[:min(size, len(rest))]...), true
}

// Length returns the length of the content that the reader has begun to read, or is about to, or 0.
func (f File) Length() uint64 {
	if !f.Lock() {
		return 0
	}
	defer f.Unlock()
	if f.h.prepared != 0 && !f.isFresh() {
		return 0
	}
	return f.h.length
}

// isFresh reports whether the file has a valid prepared content; the file is locked.
func (f File) isFresh() bool {
	return f.h.prepared != 0 && time.Since(f.t.began)-f.h.prepared < preparedTime
}

// Prepare keeps content for the first read of the file by the thread tid or its process, unless the
// file is being read.
func (f File) Prepare(content []byte, tid uint32) {
	if !f.Lock() {
		return
	}
	defer f.Unlock()
	if f.h.length > 0 && f.h.prepared == 0 {
		return
	}
	f.keep(content, 0, true)
	f.h.prepared, f.h.preparedFor = max(time.Since(f.t.began), 1), tid
}

// ClaimPrepared makes a content that was prepared for the thread tid or its process the one that
// the reader has begun with, and reports whether there is one. The reader wants size bytes.
func (f File) ClaimPrepared(size int, tid uint32, isPeer IsPeer) bool {
	if !f.Lock() {
		return false
	}
	isFresh, by := f.isFresh(), f.h.preparedFor
	f.Unlock()
	// by is 0 if an earlier worker has prepared the content.
	if !isFresh || by != 0 && by != tid && !isPeer(tid, by) || !f.Lock() {
		return false
	}
	defer f.Unlock()
	if f.h.prepared == 0 || len(f.h.content) == 0 {
		return false
	}
	f.h.prepared = 0
	f.t.reads.Keep(f.number, f.h.content, size, false)
	return true
}

// LastOpened returns the file of the node that the thread tid opened last, or else another thread
// of its process. It returns a File without handle if there is none, and for tid 0, which stands
// for all threads outside of the daemon's pid namespace.
func (t *Table) LastOpened(node uint64, tid uint32, isPeer IsPeer) File {
	if tid == 0 {
		return File{}
	}
	type candidate struct {
		file File
		tid  uint32
	}
	var others [maxPeers]candidate
	n, searched := 0, 0
	t.mu.Lock()
	for h := t.newest[node]; h != nil && searched < maxSearched; h = h.older {
		c := candidate{t.file(h, h.number), h.tid}
		if c.tid == tid {
			t.mu.Unlock()
			return c.file
		}
		if n < len(others) {
			others[n] = c
			n++
		}
		searched++
	}
	t.mu.Unlock()
	for _, c := range others[:n] {
		if c.tid != 0 && isPeer(tid, c.tid) {
			return c.file
		}
	}
	return File{}
}
