package fusedev

import (
	"encoding/binary"
	"math"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// watchStuck looks for requests that take too long, until the connection ends.
func (c *Conn) watchStuck() {
	tick := time.NewTicker(c.Patience / 4)
	defer tick.Stop()
	for {
		select {
		case <-c.crew.ended:
			return
		case <-tick.C:
		}
		for _, t := range c.threads {
			if t.claim.Load() != 0 && time.Since(c.began)-time.Duration(t.since.Load()) > c.Patience {
				t.rescue()
			}
		}
	}
}

// rescue answers the request that the thread is stuck with. The thread goes on when it can.
func (t *thread) rescue() {
	unique := t.claim.Load()
	var in [readInSize]byte
	copy(in[:], t.in)
	// What was copied belongs to the request if that is still the one.
	if unique == 0 || !t.claim.CompareAndSwap(unique, 0) {
		return
	}
	go func() {
		r := &thread{conn: t.conn, dev: t.dev, out: make([]byte, 0, 64<<10)}
		r.req.parseHeader(in[:])
		if answered := r.answerFor(in[:]); answered {
			r.dev.Write(r.out)
		}
	}()
}

// answerFor makes the answer to a request that cannot be worked on, and tells whether there is one.
func (t *thread) answerFor(in []byte) (answered bool) {
	defer func() {
		if value := recover(); value != nil {
			t.fail(noAnswer(t.req.opcode))
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
		t.replyText(out, errno, size)
	case op == opGetattr:
		t.rescueAttr()
	default:
		t.fail(noAnswer(t.req.opcode))
	}
	return true
}

func (t *thread) rescueAttr() {
	var attr fuse.AttrOut
	if errno := t.conn.handler.RescueAttr(&t.req, &attr); errno != 0 {
		t.fail(errno)
		return
	}
	out, err := binary.Append(t.out[:outHeaderSize], binary.NativeEndian, &attr)
	if err != nil {
		t.fail(syscall.EIO)
		return
	}
	t.out = out
	t.reply(len(out))
}

// noAnswer returns the error of a request that cannot be worked on. At any error of a LOOKUP but
// ENOMEM the kernel forgets the name, and unmounts what is mounted on files below it in all
// containers (fuse_dentry_revalidate in fs/fuse/dir.c).
func noAnswer(opcode uint32) syscall.Errno {
	if opcode == opLookup {
		return syscall.ENOMEM
	}
	return syscall.EIO
}
