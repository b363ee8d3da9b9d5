// Package fusedev is the transport of a FUSE file system: it mounts, does the handshake, and reads requests from /dev/fuse
// on several threads, each with a clone of the device (FUSE_DEV_IOC_CLONE) and with memory of its own, so that two
// requests never meet. OPEN, READ, RELEASE and POLL go straight to a Handler, without an allocation; all else goes through
// go-fuse's ProtocolServer.
//
// The descriptor of the device and the bytes of INIT are all that a connection needs to be served again by another
// process: Attach takes them.
package fusedev

import (
	"errors"
	"fmt"
	"io"
	"log"
	"sync"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"

	"palisade/internal/sys"
)

const (
	// maxTransfer is the most that one READ or WRITE moves: the kernel's default of 32 pages, which every kernel grants.
	maxTransfer = 128 << 10
	// slotSize is the memory of a thread for the request it works on: the kernel demands room for the largest WRITE.
	slotSize = maxTransfer + 4096
)

// Handler serves open files. Its methods are called from several threads at once.
type Handler interface {
	// Open makes a handle for the reader; flags are those of open(2), openFlags FOPEN_ ones.
	Open(r *Request, flags uint32) (handle uint64, openFlags uint32, errno syscall.Errno)
	// Read appends at most size bytes of the file, from offset on, to dst, which has room for them, and returns it; more
	// may be appended, the excess is cut off. Nothing appended is the end of the file.
	Read(r *Request, handle uint64, offset uint64, size int, dst []byte) ([]byte, syscall.Errno)
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
	master  sys.File
	handler Handler
	proto   *fuse.ProtocolServer
	threads []*thread
	crew    *crew
	running sync.WaitGroup
}

// NewConn prepares to serve the connection of master, which it owns from now on: h the open files, fs all else.
func NewConn(master sys.File, h Handler, fs fuse.RawFileSystem) *Conn {
	proto := fuse.NewProtocolServer(fs, &fuse.MountOptions{
		Logger:               log.New(io.Discard, "", 0), // it logs what a reader can provoke at will
		MaxWrite:             maxTransfer,
		DisabledCapabilities: fuse.CAP_READDIRPLUS | fuse.CAP_PASSTHROUGH | fuse.CAP_ALLOW_IDMAP,
		PanicHandler: func(value any) fuse.Status {
			h.Panicked(value)
			return fuse.EIO
		},
	})
	return &Conn{master: master, handler: h, proto: proto, crew: newCrew()}
}

// Handshake reads INIT, the first request of a new connection, and answers it. It returns the request's bytes, for the
// Attach of a later process.
func (c *Conn) Handshake() ([]byte, error) {
	in := make([]byte, slotSize)
	n, err := c.master.Read(in)
	if err != nil {
		return nil, fmt.Errorf("read INIT: %w", err)
	}
	in = in[:n:n]
	out, err := c.init(in)
	if err != nil {
		return nil, err
	}
	if _, err := c.master.Write(out); err != nil {
		return nil, fmt.Errorf("answer INIT: %w", err)
	}
	return in, nil
}

// Attach puts the connection into the state after its handshake, whose INIT request another process answered.
func (c *Conn) Attach(init []byte) error {
	_, err := c.init(init)
	return err
}

func (c *Conn) init(in []byte) ([]byte, error) {
	if len(in) < inHeaderSize || u32(in, 4) != opInit {
		return nil, errors.New("answer INIT: the first request is another one")
	}
	out := make([]byte, 4096)
	n, status := c.proto.HandleRequest([][]byte{in}, [][]byte{out})
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

// Start makes n threads that serve the connection until it ends, as many of them at a time as are needed.
func (c *Conn) Start(n int) error {
	for range n {
		t, err := c.newThread()
		if err != nil {
			return err
		}
		c.threads = append(c.threads, t)
	}
	for _, t := range c.threads {
		c.running.Add(1)
		go t.serve()
	}
	go c.crew.watch()
	c.crew.help()
	return nil
}

// Wait returns when the connection has ended: its last mount is gone, or somebody aborted it.
func (c *Conn) Wait() { c.running.Wait() }

// Busy is the number of requests that are being worked on.
func (c *Conn) Busy() int { return int(c.crew.busy.Load()) }

// NotifyPoll tells the kernel that the events of a file that is polled have changed; kernelHandle is what Poll got.
func (c *Conn) NotifyPoll(kernelHandle uint64) error {
	out := make([]byte, 0, outHeaderSize+8)
	out = appendU64(out[:outHeaderSize], kernelHandle)
	putHeader(out, 0, notifyPoll)
	_, err := c.master.Write(out)
	return err
}
