// Package fusedev is the transport of a FUSE file system: it mounts, does the handshake, and reads requests from /dev/fuse
// on several threads, each with a clone of the device (FUSE_DEV_IOC_CLONE) and with memory of its own, so that two
// requests never meet. OPEN, READ, RELEASE and POLL go straight to a Handler, without an allocation; all else goes through
// go-fuse's ProtocolServer.
//
// A Session holds what a connection needs to be served on by another process when this one ends, even in the middle of a
// request.
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
	// maxTransfer is the most that one READ or WRITE moves: the kernel's default of 32 pages, which every kernel grants.
	maxTransfer = 128 << 10
	// requestSize is the room for a request: the kernel demands that for the largest WRITE.
	requestSize = maxTransfer + 4096
)

// Handler serves open files. Its methods are called from several threads at once.
type Handler interface {
	// Open makes a handle for the reader; flags are those of open(2), openFlags FOPEN_ ones.
	Open(r *Request, flags uint32) (handle uint64, openFlags uint32, errno syscall.Errno)
	// Read appends at most size bytes of the file, from offset on, to dst, which has room for them, and returns it; more
	// may be appended, the excess is cut off. Nothing appended is the end of the file.
	Read(r *Request, handle uint64, offset uint64, size int, dst []byte) ([]byte, syscall.Errno)
	// Rescue does what Read does, in the place of one that takes too long: a thread is stuck with it. What that returns in
	// the end is dropped.
	Rescue(r *Request, handle uint64, offset uint64, size int, dst []byte) ([]byte, syscall.Errno)
	// Access returns an error unless the caller may access a node by mask (access(2)). It is not
	// called on mounts with Session.KernelChecksAccess.
	Access(r *Request, mask uint32) syscall.Errno
	// RescueAttr describes a node in place of a GetAttr that takes too long.
	RescueAttr(r *Request, out *fuse.AttrOut) syscall.Errno
	// Release ends a handle. The reader is not known.
	Release(r *Request, handle uint64)
	// Poll returns the events (of poll(2)) that hold now. Where notify is true the kernel waits, and Conn.NotifyPoll is
	// to be called with kernelHandle when they change.
	Poll(r *Request, handle, kernelHandle uint64, notify bool) (revents uint32, errno syscall.Errno)
	// Panicked is told of a panic in a request, which is answered EIO.
	Panicked(value any)
}

// Conn is a connection to the kernel.
type Conn struct {
	// Patience is how long a request may take until somebody else answers it: two seconds.
	Patience time.Duration

	began   time.Time
	session *Session
	handler Handler
	proto   *fuse.ProtocolServer
	threads []*thread
	crew    *crew
	// canAsk tells that the kernel can be asked whether a request is pending.
	canAsk  bool
	running sync.WaitGroup
	// answered is the value of crew.done at the last call of Answers.
	answered uint64
	// leaving tells that requests are left to the next process.
	leaving atomic.Bool
}

// NewConn prepares to serve the session: h the open files, fs all else.
func NewConn(s *Session, h Handler, fs fuse.RawFileSystem) (*Conn, error) {
	c := &Conn{
		Patience: 2 * time.Second, began: time.Now(), session: s, handler: h,
		proto: newProtocol(fs, h.Panicked), crew: newCrew(s.Answered()),
	}
	// The answer was given when the session was made.
	init := s.init()
	if _, err := answerInit(c.proto, init); err != nil {
		return nil, err
	}
	c.canAsk = u64(init, 8)&interruptBit == 0
	for i, dev := range s.clones {
		c.threads = append(c.threads, newThread(c, dev, s.slot(i)))
	}
	return c, nil
}

// newProtocol is go-fuse's part of the protocol.
func newProtocol(fs fuse.RawFileSystem, panicked func(any)) *fuse.ProtocolServer {
	return fuse.NewProtocolServer(fs, &fuse.MountOptions{
		Logger:               log.New(io.Discard, "", 0), // it logs what a reader can provoke at will
		MaxWrite:             maxTransfer,
		DisabledCapabilities: fuse.CAP_READDIRPLUS | fuse.CAP_PASSTHROUGH | fuse.CAP_ALLOW_IDMAP,
		PanicHandler: func(value any) fuse.Status {
			panicked(value)
			return fuse.EIO
		},
	})
}

// answerInit makes the answer to INIT, and puts proto into the state after it.
func answerInit(proto *fuse.ProtocolServer, in []byte) ([]byte, error) {
	if len(in) < inHeaderSize || u32(in, 4) != opInit {
		return nil, errors.New("answer INIT: the first request is another one")
	}
	out := make([]byte, 4096)
	n, status := proto.HandleRequest([][]byte{in}, [][]byte{out})
	if !status.Ok() {
		return nil, fmt.Errorf("answer INIT: %w", syscall.Errno(status))
	}
	if n < outHeaderSize {
		return nil, errors.New("answer INIT: no answer made")
	}
	if errno := int32(u32(out, 4)); errno != 0 {
		return nil, fmt.Errorf("answer INIT: %w", syscall.Errno(-errno))
	}
	return out[:n], nil
}

// CountIn has the requests counted that are answered, from Start on, in a counter of the caller's.
func (c *Conn) CountIn(requests *atomic.Uint64) { c.crew.counted = requests }

// Start serves the connection until it ends, with as many threads at a time as are needed. First of all it answers the
// requests that an earlier process has left.
func (c *Conn) Start() {
	for _, t := range c.threads {
		c.running.Add(1)
		go t.serve()
	}
	go c.crew.watch()
	go c.watchStuck()
	c.crew.help()
}

// leaveTime is how long requests that have been begun with may take when others are left to the next process.
const leaveTime = time.Second

// Leave ends the work on the connection, which goes on to exist: requests that have been begun with are answered, if they
// do not take too long; all others are left to the next process. This one has to end then.
func (c *Conn) Leave() {
	c.leaving.Store(true)
	for deadline := time.Now().Add(leaveTime); c.Busy() > 0 && time.Now().Before(deadline); {
		time.Sleep(100 * time.Microsecond)
	}
}

// Wait returns when the connection has ended: its last mount is gone, or somebody aborted it.
func (c *Conn) Wait() { c.running.Wait() }

// Busy is the number of requests that are being worked on.
func (c *Conn) Busy() int { return int(c.crew.busy.Load()) }

// Answers reports whether a request was answered since the last call, or a thread is idle. It must
// not be called concurrently.
func (c *Conn) Answers() bool {
	done := c.crew.done.Load()
	answers := done != c.answered || c.crew.waiting.Load() > 0
	c.answered = done
	return answers
}

// KeepCachedSize makes the kernel keep the size of a node that it has cached, and ignore the size
// in the reply to the GETATTR that is being answered. It stores no byte behind the end of the file,
// which makes the reply outdated (fuse_notify_store in fs/fuse/dev.c).
func (c *Conn) KeepCachedSize(node uint64) error {
	out := make([]byte, 0, outHeaderSize+24)
	out = appendU64(appendU64(out[:outHeaderSize], node), maxTransfer)
	out = appendU64(out, 0) // no byte, and padding
	putHeader(out, 0, notifyStore)
	_, err := c.session.master.Write(out)
	return err
}

// NotifyPoll tells the kernel that the events of a file that is polled have changed; kernelHandle is what Poll got.
func (c *Conn) NotifyPoll(kernelHandle uint64) error {
	out := make([]byte, 0, outHeaderSize+8)
	out = appendU64(out[:outHeaderSize], kernelHandle)
	putHeader(out, 0, notifyPoll)
	_, err := c.session.master.Write(out)
	return err
}
