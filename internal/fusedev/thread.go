package fusedev

import (
	"encoding/binary"
	"errors"
	"math"
	"sync/atomic"
	"syscall"
	"time"

	"palisade/internal/sys"
)

// thread reads requests from its clone of the device and answers them, one after the other.
type thread struct {
	conn *Conn
	dev  sys.File
	// slot is its part of the session's memory, in that of it which holds the request that is worked on; out the answer.
	slot, in, out []byte
	req           Request
	// claim is the request that is worked on, 0 if there is none or somebody else has answered it; since when, as the time
	// since Conn.began.
	claim atomic.Uint64
	since atomic.Int64
}

func newThread(c *Conn, dev sys.File, slot []byte) *thread {
	return &thread{conn: c, dev: dev, slot: slot, in: slot[requestAt:], out: make([]byte, 0, 64<<10)}
}

// serve answers requests until the connection ends.
func (t *thread) serve() {
	crew := t.conn.crew
	defer t.conn.running.Done()
	defer crew.over()
	t.takeOver()
	for crew.rest() {
		if !t.work() {
			return
		}
	}
}

// maxTries is how many processes try to answer a request that they find: it may be what killed the others. It is fewer
// than a supervisor starts in a row, and enough for a request whose processes were killed one after the other by chance.
const maxTries = 8

// takeOver answers the request that an earlier process has not answered. One that has killed too many is answered as one is
// that does not come to an end.
func (t *thread) takeOver() {
	n := int(u32(t.in, 0))
	if n == 0 {
		return
	}
	tries := u32(t.slot, 0) + 1
	binary.NativeEndian.PutUint32(t.slot, tries)
	isPending, known := false, true
	if n >= inHeaderSize && n <= len(t.in) {
		isPending, known = t.isPending(u64(t.in, 8))
	}
	t.req.IsDoubtful = !known
	switch {
	case known && !isPending:
	case tries > maxTries:
		t.req.parseHeader(t.in)
		if t.answerFor(t.in[:n]) {
			t.dev.Write(t.out)
		}
	default:
		t.conn.crew.busy.Add(1)
		t.handle(t.in[:n], time.Since(t.conn.began))
		t.conn.crew.answered()
	}
	t.req.IsDoubtful = false
	t.finish()
}

// isPending asks the kernel whether it waits for the answer to a request: the process that worked on it may have ended just
// after it gave one. What it asks with is the answer to an interrupt of the request (FUSE_INT_REQ_BIT in fs/fuse/fuse_i.h), which
// does nothing where its error is 0, and fails where there is no such request. Kernels before Linux 4.20 cannot be asked.
func (t *thread) isPending(unique uint64) (isPending, known bool) {
	if !t.conn.canAsk {
		return false, false
	}
	var question [outHeaderSize]byte
	putHeader(question[:], unique|interruptBit, 0)
	_, err := t.dev.Write(question[:])
	return err == nil, err == nil || errors.Is(err, syscall.ENOENT)
}

// finish notes that the slot's request is answered.
func (t *thread) finish() {
	sys.Uint32In(t.in).Store(0)
	sys.Uint32In(t.slot).Store(0)
}

// work answers requests as long as the thread is needed. It tells false where the connection has ended.
func (t *thread) work() bool {
	crew := t.conn.crew
	for row := 0; ; {
		crew.waiting.Add(1)
		asked := time.Since(t.conn.began)
		n, err := t.dev.Read(t.in)
		received := time.Since(t.conn.began)
		if received-asked >= waited {
			row = 0
		} else if row++; row == backlog {
			row = 0
			crew.help()
		}
		crew.received()
		if t.conn.leaving.Load() {
			crew.busy.Add(-1)
			select {} // what was read is the next process's
		}
		switch {
		case err == nil && n >= inHeaderSize:
			t.handle(t.in[:n], received)
		case err == nil, errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.EAGAIN):
			// The request was withdrawn while it was read.
		default:
			return false // ENODEV: unmounted
		}
		t.finish()
		crew.answered()
		if row == 0 && crew.waiting.Load() > 0 {
			return true
		}
	}
}

// handle works on one request. An answer that the kernel does not take is lost with its request: the reader is gone
// (ENOENT) or the connection is.
func (t *thread) handle(in []byte, received time.Duration) {
	t.req.parseHeader(in)
	unique := t.req.unique
	t.since.Store(int64(received))
	t.claim.Store(unique)
	answered := t.dispatch(in)
	if t.claim.CompareAndSwap(unique, 0) && answered { // else somebody else has answered
		t.dev.Write(t.out)
	}
}

// dispatch makes the answer in t.out and tells whether there is one. It is where a panic ends: it costs one request.
func (t *thread) dispatch(in []byte) (answered bool) {
	defer func() {
		if value := recover(); value != nil {
			t.fail(noAnswer(t.req.opcode))
			answered = t.req.opcode != opForget && t.req.opcode != opBatchForget
			t.conn.handler.Panicked(value)
		}
	}()
	switch op := t.req.opcode; {
	case op == opRead && len(in) >= readInSize:
		t.read(in)
	case op == opOpen && len(in) >= openInSize:
		t.open(in)
	case op == opRelease && len(in) >= releaseInSize:
		t.conn.handler.Release(&t.req, u64(in, inHeaderSize))
		t.reply(outHeaderSize)
	case op == opPoll && len(in) >= pollInSize:
		t.poll(in)
	case op == opForget, op == opBatchForget:
		return false // node ids are constants: there is nothing to forget
	case op == opAccess && len(in) >= accessInSize:
		t.fail(t.conn.handler.Access(&t.req, u32(in, inHeaderSize)))
	case op == opInterrupt, op == opFlush:
		t.fail(syscall.ENOSYS) // once: the kernel stops asking. No request waits for anything that could be interrupted
	case op == opDestroy:
		t.reply(outHeaderSize)
	default:
		return t.other(in)
	}
	return true
}

func (t *thread) open(in []byte) {
	handle, flags, errno := t.conn.handler.Open(&t.req, u32(in, inHeaderSize))
	if errno != 0 {
		t.fail(errno)
		return
	}
	t.out = appendU64(t.out[:outHeaderSize], handle)
	t.out = appendU64(t.out, 0)
	binary.NativeEndian.PutUint32(t.out[outHeaderSize+8:], flags)
	t.reply(len(t.out))
}

func (t *thread) read(in []byte) {
	// Files are opened with OpenDirectIO, but since Linux 6.5 sendfile, splice and copy_file_range read through the page
	// cache all the same (filemap_splice_read()), and mmap always did. The text of one reader must not get there, where
	// the next one would find it. Such a request names no owner of locks; who gets EINVAL falls back to read(2).
	if u32(in, inHeaderSize+20)&readLockOwner == 0 {
		t.fail(syscall.EINVAL)
		return
	}
	handle, offset := u64(in, inHeaderSize), u64(in, inHeaderSize+8)
	size := int(min(u32(in, inHeaderSize+16), math.MaxInt32))
	out, errno := t.conn.handler.Read(&t.req, handle, offset, size, t.out[:outHeaderSize])
	t.replyText(out, errno, size)
}

// replyText answers a READ of size bytes with out, which begins with room for the header, or with an error.
func (t *thread) replyText(out []byte, errno syscall.Errno, size int) {
	if errno != 0 {
		t.fail(errno)
		return
	}
	t.out = out
	t.reply(min(len(out), outHeaderSize+size)) // more than was asked for would be EIO
}

func (t *thread) poll(in []byte) {
	notify := u32(in, inHeaderSize+16)&pollScheduleNotify != 0
	revents, errno := t.conn.handler.Poll(&t.req, u64(in, inHeaderSize), u64(in, inHeaderSize+8), notify)
	if errno != 0 {
		t.fail(errno)
		return
	}
	t.out = appendU64(t.out[:outHeaderSize], 0)
	binary.NativeEndian.PutUint32(t.out[outHeaderSize:], revents)
	t.reply(len(t.out))
}

// other hands the request to go-fuse.
func (t *thread) other(in []byte) bool {
	t.out = t.out[:cap(t.out)]
	need := outHeaderSize + 4096
	if len(in) >= readInSize { // READDIR and GETXATTR name the size of the answer; it is never larger than a READ's
		need += maxTransfer
	}
	if len(t.out) < need {
		t.out = make([]byte, need)
	}
	n, status := t.conn.proto.HandleRequest([][]byte{in}, [][]byte{t.out})
	if !status.Ok() {
		t.fail(syscall.Errno(status))
		return true
	}
	t.out = t.out[:n]
	if n >= outHeaderSize && int32(u32(t.out, 4)) == -int32(syscall.EIO) { // it panicked
		t.fail(noAnswer(t.req.opcode))
	}
	return n > 0
}

// reply completes an answer of n bytes, header included.
func (t *thread) reply(n int) {
	t.out = t.out[:n]
	putHeader(t.out, t.req.unique, 0)
}

// fail answers with an error, or without one if errno is 0.
func (t *thread) fail(errno syscall.Errno) {
	t.out = t.out[:outHeaderSize]
	putHeader(t.out, t.req.unique, -int32(errno))
}

func appendU64(b []byte, v uint64) []byte { return binary.NativeEndian.AppendUint64(b, v) }
