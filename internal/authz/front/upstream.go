package front

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"
)

const (
	dialTime = 5 * time.Second
	// bufferSize is the size in bytes of the buffers of a connection.
	bufferSize = 64 << 10
	// maxIdle is the number of idle connections to the engine that are kept.
	maxIdle = 64
	// continueTime is the time limit for the engine's 100 Continue, after which the body is sent.
	continueTime = time.Second
	// sentTime is the time limit for the rest of the body after a complete answer. An engine that
	// answers earlier does not want the body.
	sentTime = 5 * time.Millisecond
	// maxInformational is the limit of 1xx answers to a request.
	maxInformational = 8
)

// pool holds the idle connections to the engine.
type pool struct {
	path string

	mu       sync.Mutex
	idle     []*upstream
	isClosed bool
}

// upstream is a connection to the engine, which belongs to one exchange at a time.
type upstream struct {
	*net.UnixConn
	pool *pool
	raw  syscall.RawConn
	br   *bufio.Reader
	bw   *bufio.Writer
	// isReused reports that the engine has answered a request on it before.
	isReused bool
	// isReusable reports that the answer has been read to its end.
	isReusable bool
	sent       chan error // the result of sending a request with a body, or nil
}

// get returns an idle connection, or a new one if there is none or if fresh is set.
func (p *pool) get(fresh bool) (*upstream, error) {
	for !fresh {
		p.mu.Lock()
		if len(p.idle) == 0 {
			p.mu.Unlock()
			break
		}
		up := p.idle[len(p.idle)-1]
		p.idle = p.idle[:len(p.idle)-1]
		p.mu.Unlock()
		if up.isAlive() {
			return up, nil
		}
		up.Close()
	}
	c, err := (&net.Dialer{Timeout: dialTime}).Dial("unix", p.path)
	if err != nil {
		return nil, err
	}
	up := &upstream{
		UnixConn: c.(*net.UnixConn), pool: p,
		br: bufio.NewReaderSize(c, bufferSize), bw: bufio.NewWriterSize(c, bufferSize),
	}
	up.raw, err = up.SyscallConn()
	return up, err
}

// dialContext returns a function for http.Transport that connects to a unix socket.
func dialContext(path string) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}
}

// isAlive reports whether the engine has neither closed an idle connection nor sent anything.
func (up *upstream) isAlive() (alive bool) {
	if up.br.Buffered() > 0 {
		return false
	}
	var one [1]byte
	err := up.raw.Read(func(fd uintptr) bool {
		_, _, err := syscall.Recvfrom(int(fd), one[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		alive = err == syscall.EAGAIN
		return true
	})
	return err == nil && alive
}

// finish returns the engine's connection to the pool, or closes it if it cannot be reused. It stops
// reading the body of the request.
func (x *exchange) finish() {
	up := x.up
	if up.sent != nil {
		select {
		case err := <-up.sent:
			up.isReusable = up.isReusable && err == nil
		case <-time.After(sentTime):
			up.isReusable = false
			up.Close()
			http.NewResponseController(x.w).SetReadDeadline(time.Unix(1, 0))
			<-up.sent
		}
	}
	x.upMu.Lock()
	defer x.upMu.Unlock()
	x.up, up.isReusable = nil, up.isReusable && !x.isAborted
	up.release()
}

// release returns the connection to the pool, or closes it.
func (up *upstream) release() {
	if !up.isReusable || up.br.Buffered() > 0 {
		up.Close()
		return
	}
	up.isReused, up.isReusable, up.sent = true, false, nil
	p := up.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.isClosed || len(p.idle) >= maxIdle {
		up.Close()
		return
	}
	p.idle = append(p.idle, up)
}

func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, up := range p.idle {
		up.Close()
	}
	p.idle, p.isClosed = nil, true
}

var errAborted = errors.New("the connection of the client was closed")

var errUnwanted = errors.New("the engine answered without reading the body")

// clientBody is a body that a client is sending. net/http closes it after the request.
type clientBody struct {
	io.Reader
	up *upstream
	// mayWait reports that the client may not have sent all of it, ahead has what was read ahead, or
	// is nil.
	mayWait bool
	ahead   *bufio.Reader
	// proceed is closed when the body may be sent, unwanted when the engine has answered without it.
	proceed, unwanted chan struct{}
	// readErr is the error from reading.
	readErr error
}

// Read implements io.Reader.
func (b *clientBody) Read(p []byte) (int, error) {
	if b.readErr != nil {
		return 0, b.readErr
	}
	if b.mayWait && (b.ahead == nil || b.ahead.Buffered() == 0) {
		if err := b.up.bw.Flush(); err != nil {
			return 0, err
		}
	}
	if b.proceed != nil {
		select {
		case <-b.proceed:
		case <-time.After(continueTime):
		case <-b.unwanted:
			return 0, errUnwanted
		}
		b.proceed = nil
	}
	n, err := b.Reader.Read(p)
	b.readErr = err
	return n, err
}

// chunkWriter is a *bufio.Writer that net/http does not flush after each chunk. It has no ReadFrom,
// during which clientBody.Read could not flush.
type chunkWriter struct{ bw *bufio.Writer }

func (w chunkWriter) Write(p []byte) (int, error) { return w.bw.Write(p) }

// WriteByte implements io.ByteWriter, without which net/http uses a buffer of its own.
func (w chunkWriter) WriteByte(c byte) error { return w.bw.WriteByte(c) }

// roundTrip sends the request to the engine, and returns the head of the answer. The caller must
// call finish, unless there is an error.
func (x *exchange) roundTrip() (*http.Response, error) {
	for fresh := false; ; fresh = true {
		up, err := x.pool.get(fresh)
		if err != nil {
			return nil, err
		}
		x.upMu.Lock()
		x.up = up
		isAborted := x.isAborted
		x.upMu.Unlock()
		if isAborted {
			x.finish()
			return nil, errAborted
		}
		resp, err := x.send()
		if err == nil {
			return resp, nil
		}
		x.finish()
		// Retry: the engine may have just closed the idle connection.
		isSafe := x.r.Method == http.MethodGet || x.r.Method == http.MethodHead
		if !up.isReused || !isSafe || x.out.Body != http.NoBody || x.r.Context().Err() != nil {
			return nil, err
		}
	}
}

// send sends the request, its body at the same time as the answer is read.
func (x *exchange) send() (*http.Response, error) {
	up := x.up
	write := func() error {
		if err := x.out.Write(chunkWriter{up.bw}); err != nil {
			return err
		}
		return up.bw.Flush()
	}
	if x.out.Body == http.NoBody {
		if err := write(); err != nil {
			return nil, fmt.Errorf("send the request: %w", err)
		}
		return x.readHead(nil)
	}
	body := &clientBody{
		Reader: x.out.Body, up: up, mayWait: !x.isBodyRead, unwanted: make(chan struct{}),
	}
	if x.examined == nil { // otherwise net/http may read the next request already
		body.ahead = x.conn.readAhead()
	}
	if x.out.Header.Get("Expect") != "" {
		body.proceed = make(chan struct{})
	}
	x.out.Body = io.NopCloser(body)
	up.sent = make(chan error, 1)
	proceed := body.proceed
	go func() {
		err := write()
		x.isBodyRead = x.isBodyRead || body.readErr == io.EOF
		if !x.isBodyRead && body.readErr != nil {
			up.Close() // the engine must not take the body for complete
		}
		up.sent <- err
	}()
	defer close(body.unwanted)
	return x.readHead(proceed)
}

// readHead reads the head of the final answer. It closes proceed, if it is not nil, when the engine
// wants the body.
func (x *exchange) readHead(proceed chan struct{}) (*http.Response, error) {
	for range maxInformational {
		resp, err := http.ReadResponse(x.up.br, x.out)
		if err != nil {
			return nil, fmt.Errorf("read the answer: %w", err)
		}
		if resp.StatusCode == http.StatusContinue && proceed != nil {
			close(proceed)
			proceed = nil
		}
		if resp.StatusCode >= 200 || resp.StatusCode == http.StatusSwitchingProtocols {
			return resp, nil
		}
	}
	return nil, fmt.Errorf("the engine sent %d informational answers", maxInformational)
}
