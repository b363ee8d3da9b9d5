package fusedev

import (
	"encoding/binary"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// The part of the protocol (linux/fuse.h) that is decoded here: the requests of a file that is being read, which are
// nearly all there are, and those that go-fuse does not know. Everything is in the byte order of the machine.
const (
	opLookup      = 1
	opForget      = 2
	opGetattr     = 3
	opOpen        = 14
	opRead        = 15
	opRelease     = 18
	opFlush       = 25
	opInit        = 26
	opAccess      = 34
	opInterrupt   = 36
	opDestroy     = 38
	opPoll        = 40
	opBatchForget = 42

	inHeaderSize  = 40
	outHeaderSize = 16
	openInSize    = inHeaderSize + 8
	readInSize    = inHeaderSize + 40
	releaseInSize = inHeaderSize + 24
	accessInSize  = inHeaderSize + 8
	pollInSize    = inHeaderSize + 24

	// readLockOwner is FUSE_READ_LOCKOWNER: a READ for a process and not for the page cache.
	readLockOwner = 1 << 1
	// interruptBit marks the number of a request as that of its interrupt, FUSE_INT_REQ_BIT; those of requests are even
	// then. Before Linux 4.20 they go up from 1, and an interrupt has one of its own.
	interruptBit = 1
	// notifyPoll is FUSE_NOTIFY_POLL: it stands where a reply has its error.
	notifyPoll = 1
	// notifyStore is FUSE_NOTIFY_STORE.
	notifyStore = 4
	// pollScheduleNotify is FUSE_POLL_SCHEDULE_NOTIFY: the kernel wants a notification when the answer changes.
	pollScheduleNotify = 1
)

// Open flags of a reply to OPEN.
const (
	// OpenDirectIO keeps the pages of a file out of the page cache, which all readers of all containers share.
	OpenDirectIO = fuse.FOPEN_DIRECT_IO
	// OpenNoFlush spares the FLUSH at each close (Linux 5.16; older kernels ask once and take ENOSYS for an answer).
	OpenNoFlush = fuse.FOPEN_NOFLUSH
)

// Request is what the kernel says of any request.
type Request struct {
	// Node is the id of the file, as a LOOKUP gave it.
	Node uint64
	// UID and GID are the reader's file system ids in the initial user namespace.
	UID, GID uint32
	// TID is the reader's thread id in the pid namespace of the mounter; 0 where the reader is in none below that, and
	// with RELEASE.
	TID uint32
	// IsDoubtful tells that an earlier process may have answered the request, and ended after that: the file may be closed,
	// and its handle another's.
	IsDoubtful bool

	unique uint64
	opcode uint32
}

func u32(b []byte, off int) uint32 { return binary.NativeEndian.Uint32(b[off:]) }
func u64(b []byte, off int) uint64 { return binary.NativeEndian.Uint64(b[off:]) }

// parseHeader decodes the header that every request starts with; in must be inHeaderSize long at least.
func (r *Request) parseHeader(in []byte) {
	r.opcode = u32(in, 4)
	r.unique = u64(in, 8)
	r.Node = u64(in, 16)
	r.UID = u32(in, 24)
	r.GID = u32(in, 28)
	r.TID = u32(in, 32)
}

// putHeader writes the header of a reply whose whole length is that of out. For a notification errno is its positive
// code and unique 0.
func putHeader(out []byte, unique uint64, errno int32) {
	binary.NativeEndian.PutUint32(out[0:], uint32(len(out)))
	binary.NativeEndian.PutUint32(out[4:], uint32(errno))
	binary.NativeEndian.PutUint64(out[8:], unique)
}
