// Package fusedev is the transport of a FUSE file system: it mounts, does the handshake, and reads
// requests from /dev/fuse on several threads. Each thread has its own clone of the device
// (FUSE_DEV_IOC_CLONE) and its own buffers. Requests that would wait are queued, and served in turn.
// OPEN, READ, RELEASE and POLL go to a Handler without allocating; all other requests go to
// go-fuse's ProtocolServer.
//
// A Session holds the state that the next process needs to continue serving a connection, even if
// this one ends while it works on requests.
package fusedev

import (
	"errors"
	"fmt"
	"io"
	"log"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

const (
	// maxTransfer is the size limit of a READ: the kernel's default of 32 pages, which every kernel
	// grants.
	maxTransfer = 128 << 10
	// maxWrite is the size limit of a WRITE, the smallest that the kernel accepts.
	maxWrite = 4096
	// requestSize is the size of a request buffer. It has room for the largest SETXATTR
	// (XATTR_SIZE_MAX): the kernel would answer what is larger with an error of its own.
	requestSize = 64<<10 + 4096
)

// Handler serves open files. Its methods are called concurrently.
type Handler interface {
	// Open returns a handle. flags are those of open(2).
	Open(r *Request, flags uint32) (handle uint64, errno syscall.Errno)
	// Read appends at most size bytes of the file at offset to dst, which has room for them, and
	// returns it. Excess bytes are cut off. To append nothing means end of file.
	Read(r *Request, handle uint64, offset uint64, size int, dst []byte) ([]byte, syscall.Errno)
	// Rescue answers a READ instead of Read if that takes too long. The thread stays blocked in
	// Read, whose late result is dropped.
	Rescue(r *Request, handle uint64, offset uint64, size int, dst []byte) ([]byte, syscall.Errno)
	// Access returns an error unless the caller may access a node by mask (access(2)). It is not
	// called on mounts with Session.KernelChecksAccess.
	Access(r *Request, mask uint32) syscall.Errno
	// RescueAttr answers a GETATTR that takes too long.
	RescueAttr(r *Request, out *fuse.AttrOut) syscall.Errno
	// Release closes a handle. The kernel does not name the caller.
	Release(r *Request, handle uint64)
	// Poll returns the current events of poll(2). If notify is true, Conn.NotifyPoll must be called
	// with kernelHandle when they change.
	Poll(r *Request, handle, kernelHandle uint64, notify bool) (revents uint32, errno syscall.Errno)
	// Class returns the class of a request. While requests wait, one of each class is served in turn.
	// handle is that of the request, or 0. Class must not block, and is not called concurrently.
	Class(r *Request, handle uint64) uint64
	// CPU returns the number of the CPU on which the caller was last running.
	CPU(r *Request) (cpu int, ok bool)
	// Panicked reports a panic in a request, which is answered with EIO.
	Panicked(value any)
}

// Conn serves a connection to the kernel.
type Conn struct {
	// Timeout is the time after which Rescue or RescueAttr answer a request, 2 s by default. It
	// must be set before Start.
	Timeout time.Duration

	start time.Time
	// pause is the time without a request after which a reader no longer opens files in a row.
	pause   time.Duration
	session *Session
	handler Handler
	proto   *fuse.ProtocolServer
	threads []*thread
	pool    *pool
	queue   *queue
	// canQuery reports whether the kernel can be asked if a request is pending.
	canQuery bool
	running  sync.WaitGroup
	// answered is the value of pool.done at the last call of Answers.
	answered uint64
	// draining is true once new requests are left to the next process.
	draining atomic.Bool
}

// NewConn returns a connection that serves the open files with h and all other requests with fs. It
// adds the answered requests to metric.
func NewConn(
	s *Session, h Handler, fs fuse.RawFileSystem, metric *atomic.Uint64,
) (*Conn, error) {
	c := &Conn{
		Timeout: 2 * time.Second, pause: time.Millisecond, start: time.Now(), session: s, handler: h,
		proto: newProtocol(fs, h.Panicked),
	}
	var err error
	if c.pool, err = newPool(s.Answered(), metric); err != nil {
		return nil, err
	}
	init := s.init()
	if _, err := answerInit(c.proto, init); err != nil { // NewSession has sent the answer
		return nil, err
	}
	c.canQuery = u64(init, 8)&interruptBit == 0
	for i, dev := range s.clones {
		c.threads = append(c.threads, newThread(c, newSlot(dev, s.slot(i))))
	}
	c.threads = append(c.threads, newThread(c, nil))
	c.queue = newQueue(s, h)
	return c, nil
}

func newProtocol(fs fuse.RawFileSystem, panicked func(any)) *fuse.ProtocolServer {
	return fuse.NewProtocolServer(fs, &fuse.MountOptions{
		Logger:               log.New(io.Discard, "", 0), // any reader can provoke its messages
		MaxWrite:             maxTransfer,
		DisabledCapabilities: fuse.CAP_READDIRPLUS | fuse.CAP_PASSTHROUGH | fuse.CAP_ALLOW_IDMAP,
		PanicHandler: func(value any) fuse.Status {
			panicked(value)
			return fuse.EIO
		},
	})
}

// answerInit lets proto process the INIT request, and returns the reply.
func answerInit(proto *fuse.ProtocolServer, in []byte) ([]byte, error) {
	if len(in) < inHeaderSize || u32(in, 4) != opInit {
		return nil, errors.New("answer INIT: unexpected first request")
	}
	out := make([]byte, 4096)
	n, status := proto.HandleRequest([][]byte{in}, [][]byte{out})
	if !status.Ok() {
		return nil, fmt.Errorf("answer INIT: %w", syscall.Errno(status))
	}
	if n < outHeaderSize {
		return nil, errors.New("answer INIT: no reply")
	}
	if errno := int32(u32(out, 4)); errno != 0 {
		return nil, fmt.Errorf("answer INIT: %w", syscall.Errno(-errno))
	}
	return out[:n], nil
}

// Start serves the connection until it ends. Requests that an earlier process left unanswered are
// served first.
func (c *Conn) Start() {
	c.pool.measureWait(c.session.master)
	c.queue.restore()
	for _, t := range c.threads {
		c.running.Add(1)
		go t.serve()
	}
	go func() {
		c.pool.watch(c.rescueStuck, func() int { return int(c.queue.length.Load()) })
		c.running.Wait()
		c.pool.timer.Close()
	}()
	c.pool.wake()
}

// drainTimeout bounds Drain.
const drainTimeout = time.Second

// Drain waits up to a second for the requests that are being served, and leaves all others to the
// next process. The caller must exit then; the connection persists.
func (c *Conn) Drain() {
	c.draining.Store(true)
	for end := time.Now().Add(drainTimeout); c.Busy() > 0 && time.Now().Before(end); {
		time.Sleep(100 * time.Microsecond)
	}
}

// Wait returns when the connection has ended: its last mount is gone or it was aborted.
func (c *Conn) Wait() { c.running.Wait() }

// Busy returns the number of requests that are being served.
func (c *Conn) Busy() int { return int(c.pool.busy.Load()) }

// Answers reports whether a request was answered since the last call, or a thread is idle. It must
// not be called concurrently.
func (c *Conn) Answers() bool {
	done := c.pool.done.Load()
	answers := done != c.answered || c.pool.waiting.Load() > 0
	c.answered = done
	return answers
}

// KeepCachedSize makes the kernel keep the size of a node that it has cached, and ignore the size
// in the reply to the GETATTR that is being answered. It stores no byte behind the end of the file,
// which makes the reply outdated (fuse_notify_store in fs/fuse/dev.c).
func (c *Conn) KeepCachedSize(node uint64) error {
	out := make([]byte, 0, outHeaderSize+24)
	out = appendU64(appendU64(out[:outHeaderSize], node), maxTransfer)
	return c.notify(notifyStore, appendU64(out, 0)) // no byte, and padding
}

// NotifyPoll wakes the pollers of a file whose events have changed. kernelHandle is that of
// Handler.Poll.
func (c *Conn) NotifyPoll(kernelHandle uint64) error {
	out := make([]byte, 0, outHeaderSize+8)
	return c.notify(notifyPoll, appendU64(out[:outHeaderSize], kernelHandle))
}

// notify sends a notification, in which code stands in place of a reply's error.
func (c *Conn) notify(code int32, out []byte) error {
	putHeader(out, 0, code)
	_, err := c.session.master.Write(out)
	return err
}
