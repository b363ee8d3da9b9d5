package sys

import (
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// reservedFDs is the number of reserved descriptors, see ReserveFDs.
var reservedFDs atomic.Int64

type fileLimit struct {
	maxReserved int64
	// evict closes some reserved descriptors, and reports whether there were any.
	evict func() bool
}

// currentLimit is nil in programs that do not call LimitFiles.
var currentLimit atomic.Pointer[fileLimit]

// minShortLived is the minimum number of descriptors left for short-lived files. A quarter of
// RLIMIT_NOFILE is left if that is more.
const minShortLived = 64

// LimitFiles bounds the number of reserved descriptors by RLIMIT_NOFILE, less the descriptors that
// are open now. evict must close some of the least recently used ones. It is called by several
// threads at once when descriptors run out, and must not open files.
func LimitFiles(evict func() bool) error {
	open, err := ListNumbers("/proc/self/fd")
	if err != nil {
		return err
	}
	limit := MaxOpenFiles()
	maxReserved := limit - max(limit/4, minShortLived) - len(open)
	currentLimit.Store(&fileLimit{maxReserved: int64(maxReserved), evict: evict})
	return nil
}

// ReserveFDs reserves n descriptors for files that stay open, until AddReservedFDs(-n), and evicts
// others to make room. It returns false, and reserves nothing, if there is no room: then the files
// must be closed after use.
func ReserveFDs(n int) bool {
	for {
		limit := currentLimit.Load()
		if now := reservedFDs.Add(int64(n)); limit == nil || now <= limit.maxReserved {
			return true
		}
		reservedFDs.Add(-int64(n))
		if !limit.evict() {
			return false
		}
	}
}

// AddReservedFDs adds n, which may be negative, to the number of reserved descriptors, regardless
// of the bound.
func AddReservedFDs(n int) { reservedFDs.Add(int64(n)) }

const (
	// maxRetries bounds the retries of an open that fails with EMFILE or ENFILE, and retryPause is
	// the pause between them: short-lived files are closed soon.
	maxRetries = 1000
	retryPause = time.Millisecond
)

// openFile calls open until it succeeds, or fails with another error than EINTR. If there are too
// many open files, it evicts some.
func openFile(open func() (fd int, err error)) (File, error) {
	for failed := 0; ; failed++ {
		fd, err := open()
		switch err {
		case nil:
			return File{fd + 1}, nil
		case unix.EINTR:
		case unix.EMFILE, unix.ENFILE:
			limit := currentLimit.Load()
			if limit == nil || failed >= maxRetries {
				return File{}, err
			}
			if !limit.evict() || failed > 0 {
				time.Sleep(retryPause)
			}
		default:
			return File{}, err
		}
	}
}

// MaxOpenFiles returns RLIMIT_NOFILE, which Go raises to the hard limit at start.
func MaxOpenFiles() int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		panic("getrlimit RLIMIT_NOFILE: " + err.Error())
	}
	return int(min(limit.Cur, 1<<30))
}
