package fusedev

import (
	"encoding/binary"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// The part of the protocol (linux/fuse.h) that is decoded here: the requests of open files, which
// are nearly all requests, and those that go-fuse does not support.
const (
	opLookup      = 1
	opForget      = 2
	opGetattr     = 3
	opSymlink     = 6 // followed by MKNOD, MKDIR, UNLINK, RMDIR and RENAME
	opLink        = 13
	opOpen        = 14
	opRead        = 15
	opRelease     = 18
	opFlush       = 25
	opInit        = 26
	opAccess      = 34
	opCreate      = 35
	opInterrupt   = 36
	opDestroy     = 38
	opPoll        = 40
	opBatchForget = 42
	opRename2     = 45

	inHeaderSize  = 40
	outHeaderSize = 16
	initMaxWrite  = outHeaderSize + 20 // max_write in the reply to INIT
	openInSize    = inHeaderSize + 8
	readInSize    = inHeaderSize + 40
	releaseInSize = inHeaderSize + 24
	accessInSize  = inHeaderSize + 8
	pollInSize    = inHeaderSize + 24

	// readLockOwner is FUSE_READ_LOCKOWNER, set in a READ that bypasses the page cache.
	readLockOwner = 1 << 1
	// interruptBit is FUSE_INT_REQ_BIT, which turns the id of a request into that of its interrupt.
	// Ids of requests are even. Before Linux 4.20 ids count up from 1, and interrupts have their
	// own.
	interruptBit = 1
	// Codes of notifications: FUSE_NOTIFY_POLL, FUSE_NOTIFY_STORE.
	notifyPoll  = 1
	notifyStore = 4
	// pollScheduleNotify is FUSE_POLL_SCHEDULE_NOTIFY: the kernel wants a notification of changes.
	pollScheduleNotify = 1
)

// openFlags are the flags in the reply to OPEN. FOPEN_DIRECT_IO bypasses the page cache, which the
// readers of all containers share. FOPEN_NOFLUSH avoids the FLUSH at each close (Linux 5.16). Older
// kernels stop sending FLUSH at the first ENOSYS.
const openFlags = fuse.FOPEN_DIRECT_IO | fuse.FOPEN_NOFLUSH

// Request is the header of a request (struct fuse_in_header).
type Request struct {
	// Node is the node id from the reply to LOOKUP.
	Node uint64
	// UID and GID are the caller's file system ids in the initial user namespace.
	UID, GID uint32
	// TID is the caller's thread id in the pid namespace of the mount. It is 0 in RELEASE, and if
	// the caller is not visible in that namespace.
	TID uint32
	// MaybeAnswered is true if an earlier process may have answered the request before it ended:
	// the file may be closed, and the handle reused.
	MaybeAnswered bool

	unique uint64
	opcode uint32
}

func u32(b []byte, off int) uint32 { return binary.NativeEndian.Uint32(b[off:]) }
func u64(b []byte, off int) uint64 { return binary.NativeEndian.Uint64(b[off:]) }

// parseHeader decodes the header of a request; in must have at least inHeaderSize bytes.
func (r *Request) parseHeader(in []byte) {
	r.opcode = u32(in, 4)
	r.unique = u64(in, 8)
	r.Node = u64(in, 16)
	r.UID = u32(in, 24)
	r.GID = u32(in, 28)
	r.TID = u32(in, 32)
}

// putHeader writes the header of the reply out. In a notification errno is its positive code and
// unique is 0.
func putHeader(out []byte, unique uint64, errno int32) {
	binary.NativeEndian.PutUint32(out[0:], uint32(len(out)))
	binary.NativeEndian.PutUint32(out[4:], uint32(errno))
	binary.NativeEndian.PutUint64(out[8:], unique)
}
