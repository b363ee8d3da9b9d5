package lxcfs

import (
	"strconv"
	"syscall"
	"time"

	"palisade/internal/lxcfs/fusedev"
)

// The size of a file is the length of the text that its reader would get. Programs that copy files
// read exactly so many bytes, and the text may have another length a moment later. So the text
// whose length was told is kept for the first read, if the reader has opened the file. The kernel
// does not say for which open file it asks (fuse_getattr in fs/fuse/dir.c): it is the one that the
// same thread has opened last, or else another thread of its process.

const (
	// preparedValid bounds the age of a prepared text at its first read.
	preparedValid = 5 * time.Second
	// maxLooked bounds the open files of a node that are examined, and maxPeers the threads whose
	// process is looked up.
	maxLooked = 64
	maxPeers  = 8
)

// attrValid is the time for which the kernel may cache the attributes of a fixed node.
func (f *FS) attrValid(n *node) time.Duration {
	if n.isDir() || f.fixedSizes {
		return fixedValid
	}
	return 0
}

// hasSize reports whether the size of the request's node depends on the caller. For a caller that
// cannot read the file no text is rendered.
func (f *FS) hasSize(r *fusedev.Request) bool {
	if f.fixedSizes {
		return false
	}
	if isContainers(r.Node) {
		return containerMode(r.Node)&syscall.S_IFMT == syscall.S_IFREG
	}
	n := f.tree.node(r.Node)
	return n != nil && !n.isDir() && f.Access(r, mayRead) == 0
}

// size returns the length of the text that the caller reads from the file, which it may have
// opened: of the text that it has begun to read, or else of one that render makes.
func (f *FS) size(
	r *fusedev.Request, file openFile, number uint64,
	render func(*fusedev.Request, []byte) ([]byte, error),
) uint64 {
	if length := f.handles.begun(file); length > 0 {
		return length
	}
	text, err := render(r, nil)
	if err != nil {
		return fileSize
	}
	if len(text) == 0 {
		// The next reader's text may not be empty: sendfile(2) would take the file for empty, too.
		f.keepSize(r.Node) // it fails only if the inode is gone
		return 0
	}
	f.handles.prepare(file, number, text, r.TID)
	return uint64(len(text))
}

// isSameProcess reports whether two threads, of which tid waits for an answer, are of one process.
func (f *FS) isSameProcess(tid, other uint32) bool {
	path := strconv.Itoa(int(tid)) + "/task/" + strconv.Itoa(int(other))
	_, err := f.proc.StatAt(path)
	return err == nil
}

// link puts h before the other open files of its node; hs.mu is held.
func (hs *handles) link(h *handle) {
	h.newer, h.older = nil, hs.newest[h.node]
	if h.older != nil {
		h.older.newer = h
	}
	hs.newest[h.node] = h
}

// unlink is the reverse of link.
func (hs *handles) unlink(h *handle) {
	if h.older != nil {
		h.older.newer = h.newer
	}
	switch {
	case h.newer != nil:
		h.newer.older = h.older
	case h.older != nil:
		hs.newest[h.node] = h.older
	default:
		delete(hs.newest, h.node)
	}
	h.newer, h.older = nil, nil
}

// opened returns the file of the node that was opened last by the thread tid, or by another that
// isPeer says is of its process. The file has no handle if there is none.
func (hs *handles) opened(
	node uint64, tid uint32, isPeer func(tid, other uint32) bool,
) (openFile, uint64) {
	if tid == 0 {
		return openFile{}, 0 // any thread outside of the daemon's pid namespace
	}
	type opening struct {
		file   openFile
		number uint64
		tid    uint32
	}
	var others [maxPeers]opening
	n, looked := 0, 0
	hs.mu.Lock()
	for h := hs.newest[node]; h != nil && looked < maxLooked; h = h.older {
		o := opening{openFile{h, h.turn.Load()}, h.number, h.tid}
		if o.tid == tid {
			hs.mu.Unlock()
			return o.file, o.number
		}
		if n < len(others) {
			others[n] = o
			n++
		}
		looked++
	}
	hs.mu.Unlock()
	for _, o := range others[:n] {
		if o.tid != 0 && isPeer(tid, o.tid) {
			return o.file, o.number
		}
	}
	return openFile{}, 0
}

// begun returns the length of the text that the reader of the file has begun to read, or is about
// to; 0 if there is none.
func (hs *handles) begun(o openFile) uint64 {
	if !o.lock() {
		return 0
	}
	defer o.h.mu.Unlock()
	if o.h.prepared != 0 && !hs.isFresh(o.h) {
		return 0
	}
	return o.h.length
}

// isFresh reports whether h has a text that was prepared a short time ago; h.mu is held.
func (hs *handles) isFresh(h *handle) bool {
	return h.prepared != 0 && time.Since(hs.began)-h.prepared < preparedValid
}

// prepare keeps text for the first read of the file number, by the thread tid or its process,
// unless the file is being read.
func (hs *handles) prepare(o openFile, number uint64, text []byte, tid uint32) {
	if !o.lock() {
		return
	}
	defer o.h.mu.Unlock()
	if o.h.length > 0 && o.h.prepared == 0 {
		return
	}
	hs.set(o.h, number, text, 0, true)
	o.h.prepared, o.h.preparedFor = max(time.Since(hs.began), 1), tid
}

// claimPrepared makes a text that was prepared for the thread tid, or another of its process, the
// one that the file's reader has begun with, and reports whether there is one. The reader wants
// size bytes.
func (hs *handles) claimPrepared(
	o openFile, number uint64, size int, tid uint32, isPeer func(tid, other uint32) bool,
) bool {
	if !o.lock() {
		return false
	}
	h := o.h
	isFresh, by := hs.isFresh(h), h.preparedFor
	h.mu.Unlock()
	// A process that died has preparedFor 0; its file is the reader's.
	if !isFresh || by != 0 && by != tid && !isPeer(tid, by) || !o.lock() {
		return false
	}
	defer h.mu.Unlock()
	if h.prepared == 0 || len(h.text) == 0 {
		return false
	}
	h.prepared = 0
	hs.reads.keep(number, h.text, size, false)
	return true
}
