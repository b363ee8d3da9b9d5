package sys

import (
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// staying is the number of files that stay open, see StayOpen.
var staying atomic.Int64

// fileLimit bounds the files of this process.
type fileLimit struct {
	// stay is how many may stay open.
	stay int64
	// evict closes files that have stayed open. It reports whether there were any.
	evict func() bool
}

// limitOfFiles is nil in programs that keep no number of files open.
var limitOfFiles atomic.Pointer[fileLimit]

// minPassing is the least part of the table of files, in descriptors, that is left to files of a
// moment; a quarter if that is more.
const minPassing = 64

// LimitFiles bounds the files that stay open by RLIMIT_NOFILE, less those that are open now. evict
// closes some of those that were used least recently. It is called wherever a file is opened, by
// several threads at once, and must open none.
func LimitFiles(evict func() bool) error {
	fds, err := OpenDir("/proc/self/fd")
	if err != nil {
		return err
	}
	defer fds.Close()
	open, err := fds.List()
	if err != nil {
		return err
	}
	limit := MaxOpenFiles()
	stay := limit - max(limit/4, minPassing) - len(open)
	limitOfFiles.Store(&fileLimit{stay: int64(stay), evict: evict})
	return nil
}

// StayOpen counts n files that are to stay open, until CountStaying(-n), and makes room for them.
// It returns false, and counts nothing, if there is none: then they must be closed after use.
func StayOpen(n int) bool {
	for {
		limit := limitOfFiles.Load()
		if now := staying.Add(int64(n)); limit == nil || now <= limit.stay {
			return true
		}
		staying.Add(-int64(n))
		if !limit.evict() {
			return false
		}
	}
}

// CountStaying counts n files more that stay open, whatever the bound; fewer if n is negative.
func CountStaying(n int) { staying.Add(int64(n)) }

const (
	// fullTries and fullPause are how often, and after what pause, an open is tried again while the
	// table is full: files of a moment are closed soon.
	fullTries = 1000
	fullPause = time.Millisecond
)

// mayRetry reports whether a call that makes a descriptor, and has failed with err so many times,
// should be made again: it was interrupted, or there were too many files, of which some have been
// closed since.
func mayRetry(err error, failed int) bool {
	switch err {
	case unix.EINTR:
		return true
	case unix.EMFILE, unix.ENFILE:
		limit := limitOfFiles.Load()
		if limit == nil || failed >= fullTries {
			return false
		}
		if !limit.evict() || failed > 0 {
			time.Sleep(fullPause)
		}
		return true
	}
	return false
}

// openFile makes the call open until it succeeds, or fails for another reason than an interruption
// or too many files.
func openFile(open func() (fd int, err error)) (File, error) {
	for failed := 0; ; failed++ {
		fd, err := open()
		if err == nil {
			return File{fd + 1}, nil
		}
		if !mayRetry(err, failed) {
			return File{}, err
		}
	}
}

// MaxOpenFiles is how many files this process may have open (RLIMIT_NOFILE, which Go raises to the
// hard limit at the start).
func MaxOpenFiles() int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		panic("getrlimit RLIMIT_NOFILE: " + err.Error())
	}
	return int(min(limit.Cur, 1<<30))
}
