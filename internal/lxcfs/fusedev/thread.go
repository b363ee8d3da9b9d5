package fusedev

import (
	"encoding/binary"
	"errors"
	"math"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"palisade/internal/linux/sys"
)

// slot is the memory of a request, which outlives the process.
type slot struct {
	// dev is the clone that the request was read from, and to which the answer must be written. in is
	// the part of mem that holds the request, of n bytes.
	dev     sys.File
	mem, in []byte
	n       int
	// began is the time when a thread began with it, relative to Conn.start.
	began time.Duration
	// isOld is true if an earlier process has received the request.
	isOld bool
	next  *slot // in the list of free ones
}

func newSlot(dev sys.File, mem []byte) *slot {
	s := &slot{dev: dev, mem: mem, in: mem[requestAt:]}
	s.n = int(u32(s.in, 0))
	s.isOld = s.n != 0
	return s
}

// clear forgets the request.
func (s *slot) clear() {
	sys.Uint32In(s.in).Store(0)
	sys.Uint32In(s.mem).Store(0)
	s.isOld = false
}

// thread answers requests, one at a time: those in the queue, and if there is none, one that it
// reads from its clone of the device.
type thread struct {
	conn     *Conn
	own      *slot // for requests from its clone, or nil: one thread has none, for the queue
	out      []byte
	req      Request
	follower follower
	// claim is the id of the current request, 0 if there is none or rescue has answered it. in is its
	// slot, since the time when the thread began with it.
	claim atomic.Uint64
	since atomic.Int64
	in    atomic.Pointer[slot]
}

func newThread(c *Conn, own *slot) *thread {
	return &thread{conn: c, own: own, out: make([]byte, 0, 64<<10)}
}

func (t *thread) serve() {
	pool := t.conn.pool
	defer t.conn.running.Done()
	defer pool.shutdown()
	if t.own == nil {
		for pool.park(pool.queueWakeup) {
			for s := t.conn.queue.pop(); s != nil; s = t.conn.queue.pop() {
				pool.begin()
				t.answer(s)
				t.conn.queue.collect()
			}
		}
		return
	}
	if t.own.isOld {
		pool.begin()
		t.answer(t.own)
	}
	for pool.park(pool.wakeup) {
		if !t.work() {
			return
		}
	}
}

// maxTries is the number of processes that try to answer a request, which may have crashed the
// earlier ones. A supervisor starts more processes in a row before it gives up.
const maxTries = 8

// resume answers the request that an earlier process left unanswered, and reports whether it did
// so. After maxTries the request gets the answer of one that takes too long.
func (t *thread) resume(s *slot) (answered bool) {
	tries := u32(s.mem, 0) + 1
	binary.NativeEndian.PutUint32(s.mem, tries)
	isPending, known := false, true
	if s.n >= inHeaderSize && s.n <= len(s.in) {
		isPending, known = t.isPending(s)
	}
	t.req.MaybeAnswered = !known
	switch {
	case known && !isPending:
		return false
	case tries > maxTries:
		t.req.parseHeader(s.in)
		if t.answerFallback(s.in[:s.n]) {
			s.dev.Write(t.out)
		}
	default:
		t.handle(s)
	}
	t.req.MaybeAnswered = false
	return true
}

// isPending reports whether the kernel waits for the answer to a request, which the earlier process
// may have sent just before it ended. The query is a reply to an interrupt of the request
// (FUSE_INT_REQ_BIT in fs/fuse/fuse_i.h): without an error it has no effect, and fails with ENOENT
// if there is no such request. known is false before Linux 4.20.
func (t *thread) isPending(s *slot) (isPending, known bool) {
	if !t.conn.canQuery {
		return false, false
	}
	var reply [outHeaderSize]byte
	putHeader(reply[:], u64(s.in, 8)|interruptBit, 0)
	_, err := s.dev.Write(reply[:])
	return err == nil, err == nil || errors.Is(err, syscall.ENOENT)
}

// work answers requests until enough other threads wait for them. It returns false if the
// connection has ended.
func (t *thread) work() bool {
	pool, queue := t.conn.pool, t.conn.queue
	last := uint32(0) // the reader of the last request
	for pending := 0; ; {
		s := queue.pop()
		pending++
		if s != nil {
			pool.begin()
		} else {
			s = t.own
			waited, err := t.receive()
			if err != nil {
				return false // ENODEV: unmounted
			}
			if waited {
				pending = 0
			}
		}
		t.answer(s)
		if t.req.opcode == opOpen {
			t.follower.opened(&t.req, t.conn.handler)
		}
		// Requests of one thread cannot be out of turn.
		if tid := t.req.TID; pending > 0 && (s != t.own || tid != last && tid != 0) {
			last = tid
			queue.collect()
			if queue.length.Load() >= backlog && pool.mayGrow() {
				pool.wake()
			}
		}
		if pending == backlog && !t.conn.session.collector.IsOpen() {
			pending = 0 // a mount of an earlier version
			pool.wake()
		}
		if pending == 0 && pool.waiting.Load() > 0 {
			return true
		}
	}
}

// answer answers the request in a slot, and frees that.
func (t *thread) answer(s *slot) {
	pool := t.conn.pool
	if t.conn.draining.Load() {
		pool.busy.Add(-1)
		select {} // the next process answers it
	}
	if s != t.own || s.isOld { // else receive has set it
		s.began = time.Since(t.conn.start)
	}
	answered := true
	switch {
	case s.isOld:
		answered = t.resume(s)
	case s.n >= inHeaderSize:
		t.handle(s)
	}
	s.clear()
	if s != t.own {
		t.conn.queue.release(s)
	}
	pool.end(answered)
}

// receive reads a request from the thread's clone, and reports whether it had to wait for it. The
// slot stays empty if the request was interrupted before it was read.
func (t *thread) receive() (waited bool, err error) {
	pool := t.conn.pool
	pool.waiting.Add(1)
	begin := time.Since(t.conn.start)
	t.own.n, err = t.own.dev.Read(t.own.in)
	t.own.began = time.Since(t.conn.start)
	wait := t.own.began - begin
	pool.received()
	if wait >= t.conn.pause {
		t.follower.paused()
	}
	if err != nil {
		t.own.n = 0
	}
	if errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.EAGAIN) {
		err = nil
	}
	return wait >= pool.minWait, err
}

// handle serves one request. A failed write is ignored: the request was aborted (ENOENT), or the
// connection has ended.
func (t *thread) handle(s *slot) {
	in := s.in[:s.n]
	t.req.parseHeader(in)
	unique := t.req.unique
	t.in.Store(s)
	t.since.Store(int64(s.began))
	t.claim.Store(unique)
	answered := t.dispatch(in)
	if !t.claim.CompareAndSwap(unique, 0) {
		t.conn.pool.stuck.Add(-1) // rescue has answered
	} else if answered {
		s.dev.Write(t.out)
	}
}

// dispatch prepares the answer in t.out, and returns false for requests without an answer. A panic
// fails only this request.
func (t *thread) dispatch(in []byte) (answered bool) {
	defer func() {
		if value := recover(); value != nil {
			t.fail(fallbackErrno(t.req.opcode))
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
		t.fail(0)
	case op == opPoll && len(in) >= pollInSize:
		t.poll(in)
	case op == opForget, op == opBatchForget:
		return false // node ids are constants
	case op == opAccess && len(in) >= accessInSize:
		t.fail(t.conn.handler.Access(&t.req, u32(in, inHeaderSize)))
	case op >= opSymlink && op <= opLink, op == opRename2, op == opCreate:
		t.fail(syscall.EACCES) // no program can change the tree
	case op == opInterrupt, op == opFlush:
		t.fail(syscall.ENOSYS) // the kernel does not send them again
	case op == opDestroy:
		t.fail(0)
	default:
		return t.forward(in)
	}
	return true
}

func (t *thread) open(in []byte) {
	handle, errno := t.conn.handler.Open(&t.req, u32(in, inHeaderSize))
	t.out = appendU64(t.out[:outHeaderSize], handle)
	t.out = appendU64(t.out, 0)
	binary.NativeEndian.PutUint32(t.out[outHeaderSize+8:], openFlags)
	t.reply(errno, len(t.out))
}

func (t *thread) read(in []byte) {
	// Despite OpenDirectIO, mmap, and since Linux 6.5 sendfile, splice and copy_file_range, read
	// through the page cache (filemap_splice_read()), where readers of other containers would find
	// the content. Such a READ has no lock owner. Programs fall back to read(2) at EINVAL.
	if u32(in, inHeaderSize+20)&readLockOwner == 0 {
		t.fail(syscall.EINVAL)
		return
	}
	handle, offset := u64(in, inHeaderSize), u64(in, inHeaderSize+8)
	size := int(min(u32(in, inHeaderSize+16), math.MaxInt32))
	out, errno := t.conn.handler.Read(&t.req, handle, offset, size, t.out[:outHeaderSize])
	t.replyRead(out, errno, size)
}

// replyRead answers a READ of size bytes with errno, or with out, which begins with room for the
// header.
func (t *thread) replyRead(out []byte, errno syscall.Errno, size int) {
	if errno == 0 {
		t.out = out
	}
	t.reply(errno, min(len(out), outHeaderSize+size)) // the kernel turns a longer reply into EIO
}

func (t *thread) poll(in []byte) {
	handle, kernelHandle := u64(in, inHeaderSize), u64(in, inHeaderSize+8)
	notify := u32(in, inHeaderSize+16)&pollScheduleNotify != 0
	revents, errno := t.conn.handler.Poll(&t.req, handle, kernelHandle, notify)
	t.out = appendU64(t.out[:outHeaderSize], 0)
	binary.NativeEndian.PutUint32(t.out[outHeaderSize:], revents)
	t.reply(errno, len(t.out))
}

// forward passes the request to go-fuse, and returns false if it has no answer.
func (t *thread) forward(in []byte) bool {
	t.out = t.out[:cap(t.out)]
	need := outHeaderSize + 4096
	if len(in) >= readInSize { // READDIR and GETXATTR have answers of up to maxTransfer bytes
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
	if n >= outHeaderSize && int32(u32(t.out, 4)) == -int32(syscall.EIO) { // a panic
		t.fail(fallbackErrno(t.req.opcode))
	}
	return n > 0
}

// reply completes an answer of n bytes, including the header, or answers with errno if that is not
// 0.
func (t *thread) reply(errno syscall.Errno, n int) {
	if errno != 0 {
		n = outHeaderSize
	}
	t.out = t.out[:n]
	putHeader(t.out, t.req.unique, -int32(errno))
}

// fail answers with errno, which may be 0.
func (t *thread) fail(errno syscall.Errno) { t.reply(errno, outHeaderSize) }

func appendU64(b []byte, v uint64) []byte { return binary.NativeEndian.AppendUint64(b, v) }

// rescueStuck answers the requests that take longer than Timeout.
func (c *Conn) rescueStuck() {
	for _, t := range c.threads {
		unique := t.claim.Load() // before since, which is that of this request or a later one
		since := time.Duration(t.since.Load())
		if unique != 0 && time.Since(c.start)-since > c.Timeout {
			t.rescue(unique)
		}
	}
}

func (t *thread) rescue(unique uint64) {
	s := t.in.Load()
	var in [readInSize]byte
	copy(in[:], s.in)
	// The copy is consistent if the thread still works on the same request.
	if !t.claim.CompareAndSwap(unique, 0) {
		return
	}
	t.conn.pool.stuck.Add(1)
	go func() {
		r := &thread{conn: t.conn, out: make([]byte, 0, 64<<10)}
		r.req.parseHeader(in[:])
		if r.answerFallback(in[:]) {
			s.dev.Write(r.out)
		}
	}()
}

// answerFallback prepares the answer in t.out to a request that cannot be served as usual. It
// returns false for requests without an answer.
func (t *thread) answerFallback(in []byte) (answered bool) {
	defer func() {
		if value := recover(); value != nil {
			t.fail(fallbackErrno(t.req.opcode))
			answered = true
			t.conn.handler.Panicked(value)
		}
	}()
	switch op := t.req.opcode; {
	case op == opForget, op == opBatchForget:
		return false
	case op == opRead && len(in) >= readInSize:
		handle, offset := u64(in, inHeaderSize), u64(in, inHeaderSize+8)
		size := int(min(u32(in, inHeaderSize+16), math.MaxInt32))
		out, errno := t.conn.handler.Rescue(&t.req, handle, offset, size, t.out[:outHeaderSize])
		t.replyRead(out, errno, size)
	case op == opGetattr:
		t.rescueAttr()
	default:
		t.fail(fallbackErrno(t.req.opcode))
	}
	return true
}

func (t *thread) rescueAttr() {
	var attr fuse.AttrOut
	errno := t.conn.handler.RescueAttr(&t.req, &attr)
	out, err := binary.Append(t.out[:outHeaderSize], binary.NativeEndian, &attr)
	if err != nil {
		t.fail(syscall.EIO)
		return
	}
	t.out = out
	t.reply(errno, len(out))
}

// fallbackErrno returns the error for a request that cannot be served. At any error of a LOOKUP but
// ENOMEM the kernel drops the dentry, and unmounts all mounts on files below it in all containers
// (fuse_dentry_revalidate in fs/fuse/dir.c).
func fallbackErrno(opcode uint32) syscall.Errno {
	if opcode == opLookup {
		return syscall.ENOMEM
	}
	return syscall.EIO
}
