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
	// readTime is how long the body of a request may take to arrive: each is to be answered within a second.
	readTime = 800 * time.Millisecond
	// maxRequest bounds what is read of a request, in bytes. Engines send about 6 MiB at most.
	maxRequest = 16 << 20
	// maxDrained bounds what is read and thrown away behind that, so that who sends it comes to read the answer.
	maxDrained = 256 << 20
	// large is a request's size from which on few are read at once, in bytes.
	large = 1 << 20
	// largeAtOnce is how many.
	largeAtOnce = 3
)

var (
	errLate  = fmt.Errorf("the request did not arrive within %v", readTime)
	errLarge = fmt.Errorf("the request is larger than %d MiB", maxRequest>>20)
)

// readBody reads a request in limited time and memory.
func (s *Server) readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	until := time.Now().Add(readTime)
	if err := http.NewResponseController(w).SetReadDeadline(until); err != nil {
		return nil, err
	}
	size := r.ContentLength
	if size > maxRequest {
		io.CopyN(io.Discard, r.Body, maxDrained)
		return nil, errLarge
	}
	if size < 0 || size > large {
		select {
		case s.large <- struct{}{}:
			defer func() { <-s.large }()
		case <-time.After(time.Until(until)):
			return nil, errors.New("too many large requests at once")
		}
	}
	var text bytes.Buffer
	if size > 0 {
		text.Grow(int(min(size, large)) + bytes.MinRead)
	}
	_, err := text.ReadFrom(io.LimitReader(r.Body, maxRequest+1))
	switch {
	case err != nil && time.Now().After(until):
		return nil, errLate
	case err != nil:
		return nil, fmt.Errorf("read the request: %w", err)
	case text.Len() > maxRequest:
		io.CopyN(io.Discard, r.Body, maxDrained)
		return nil, errLarge
	}
	return text.Bytes(), nil
}

const (
	// drainTime is how long the rest of a response may take that was answered before it had come.
	drainTime = 30 * time.Second
)

// drain reads a request to its end without keeping it, and answers: at its end, or before if it does not come in time. Who
// sends it may read the answer only then, and takes an error for an answer that is refused.
func drain(w http.ResponseWriter, r *http.Request, answer func()) {
	c := http.NewResponseController(w)
	c.EnableFullDuplex()
	c.SetReadDeadline(time.Now().Add(drainTime))
	answered := make(chan struct{})
	late := time.AfterFunc(readTime, func() {
		defer close(answered)
		answer()
		c.Flush()
	})
	io.Copy(io.Discard, r.Body) // whatever it was
	if late.Stop() {
		answer()
		return
	}
	<-answered
}
