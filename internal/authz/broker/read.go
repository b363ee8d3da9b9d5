package broker

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

const (
	// readTime is the time limit for the body of a request. An answer is due within a second.
	readTime = 800 * time.Millisecond
	// drainTime is the time limit for the rest of a request that was answered already.
	drainTime = 5 * time.Second
	// maxRequest is the size limit of a request in bytes. Engines send about 6 MiB at most.
	maxRequest = 16 << 20
	// largeSize is the size in bytes from which on a request counts as large: parsing JSON needs a
	// multiple of its size in memory.
	largeSize = 256 << 10
	// maxLarge is the number of large requests that are read and decided at a time.
	maxLarge = 4
)

var (
	errLate         = Late(fmt.Sprintf("the request did not arrive within %v", readTime))
	errTooLarge     = fmt.Errorf("the request is larger than %d MiB", maxRequest>>20)
	errTooManyLarge = errors.New("too many large requests at a time")
)

// drain reads the rest of a body, up to its time limit. If a connection is closed with unread data,
// the kernel resets it, and the engine may lose the answer.
func drain(r *http.Request) { io.Copy(io.Discard, r.Body) }

// readInTime calls read, which must read a request to its end: the engine may read the answer only
// then. If that takes too long, readInTime calls late to answer meanwhile, and returns false.
func readInTime(w http.ResponseWriter, late, read func()) bool {
	c := http.NewResponseController(w)
	c.SetReadDeadline(time.Now().Add(readTime + drainTime))
	answered := make(chan struct{})
	timer := time.AfterFunc(readTime, func() {
		defer close(answered)
		late()
		c.Flush()
	})
	read()
	if timer.Stop() {
		return true
	}
	<-answered
	return false
}

// readBody reads a request with bounded memory, to its end even if it returns an error. The caller
// must call release when the request is decided. large limits the large requests.
func readBody(r *http.Request, large chan struct{}) (body []byte, release func(), err error) {
	release = func() {}
	if size := r.ContentLength; size < 0 || size > largeSize {
		select {
		case large <- struct{}{}:
			release = func() { <-large }
		case <-time.After(readTime / 2):
			err = errTooManyLarge
		}
	}
	var text bytes.Buffer
	if err == nil && r.ContentLength <= maxRequest {
		text.Grow(int(max(0, min(r.ContentLength, largeSize))) + bytes.MinRead)
		if _, err = text.ReadFrom(io.LimitReader(r.Body, maxRequest+1)); err != nil {
			err = fmt.Errorf("read the request: %w", err)
		}
	}
	if err == nil && max(r.ContentLength, int64(text.Len())) > maxRequest {
		err = errTooLarge
	}
	if err != nil {
		drain(r)
	}
	return text.Bytes(), release, err
}
