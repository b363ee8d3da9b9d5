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
	// readTime is how long a request may take to arrive: each is to be answered within a second.
	readTime = 800 * time.Millisecond
	// drainTime is how long the rest may take of what was answered before it had come.
	drainTime = 5 * time.Second
	// maxRequest bounds what is kept of a request, in bytes. Engines send about 6 MiB at most.
	maxRequest = 16 << 20
	// large is a request's size from which on few are read and decided at once, in bytes: to read JSON takes many times its size.
	large = 256 << 10
	// largeAtOnce is how many.
	largeAtOnce = 4
)

var (
	errLate  = fmt.Errorf("the request did not arrive within %v", readTime)
	errLarge = fmt.Errorf("the request is larger than %d MiB", maxRequest>>20)
	errMany  = errors.New("too many large requests came at once")
)

// boundBody bounds how long the body of a request is waited for. net/http reads what is left of it before it answers, unless it
// is told that reading and writing do not wait for each other, as HTTP/1 can.
func boundBody(w http.ResponseWriter) {
	c := http.NewResponseController(w)
	c.EnableFullDuplex()
	c.SetReadDeadline(time.Now().Add(readTime))
}

// drain reads a body that is of no interest, for as long as boundBody allows: a connection that is closed with something unread
// is reset, and its answer may be lost with it.
func drain(r *http.Request) { io.Copy(io.Discard, r.Body) }

// inTime calls read, which reads the request to its end, since who sends it may read the answer only then and takes an error
// for an answer that is refused. If that takes too long late is called meanwhile, to answer; then inTime returns false.
func inTime(w http.ResponseWriter, r *http.Request, late, read func()) bool {
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

// readBody reads a request in limited memory, to its end even if it is refused. free is to be called once it is decided.
func (s *Server) readBody(r *http.Request) (body []byte, free func(), err error) {
	free = func() {}
	if size := r.ContentLength; size < 0 || size > large {
		select {
		case s.large <- struct{}{}:
			free = func() { <-s.large }
		case <-time.After(readTime / 2):
			err = errMany
		}
	}
	if err == nil {
		body, err = readLimited(r)
	}
	if err != nil {
		io.Copy(io.Discard, r.Body)
	}
	return body, free, err
}

func readLimited(r *http.Request) ([]byte, error) {
	size := r.ContentLength
	if size > maxRequest {
		return nil, errLarge
	}
	var text bytes.Buffer
	if size > 0 {
		text.Grow(int(min(size, large)) + bytes.MinRead)
	}
	switch _, err := text.ReadFrom(io.LimitReader(r.Body, maxRequest+1)); {
	case err != nil:
		return nil, fmt.Errorf("read the request: %w", err)
	case text.Len() > maxRequest:
		return nil, errLarge
	}
	return text.Bytes(), nil
}
