package fusedev

import (
	"encoding/binary"
	"math"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// watchStuck rescues the requests that take longer than Timeout, until the connection ends.
func (c *Conn) watchStuck() {
	tick := time.NewTicker(c.Timeout / 4)
	defer tick.Stop()
	for {
		select {
		case <-c.pool.ended:
			return
		case <-tick.C:
		}
		for _, t := range c.threads {
			since := time.Duration(t.since.Load())
			if t.claim.Load() != 0 && time.Since(c.start)-since > c.Timeout {
				t.rescue()
			}
		}
	}
}

func (t *thread) rescue() {
	unique := t.claim.Load()
	var in [readInSize]byte
	copy(in[:], t.in)
	// The copy is consistent if the thread still works on the same request.
	if unique == 0 || !t.claim.CompareAndSwap(unique, 0) {
		return
	}
	go func() {
		r := &thread{conn: t.conn, dev: t.dev, out: make([]byte, 0, 64<<10)}
		r.req.parseHeader(in[:])
		if r.answerFallback(in[:]) {
			r.dev.Write(r.out)
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
