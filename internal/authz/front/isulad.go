package front

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"palisade/internal/authz/action"
	"palisade/internal/authz/audit"
	"palisade/internal/authz/broker"
	"palisade/internal/authz/policy"
)

const (
	// isuladHeaderTime is the time limit for the TLS handshake and the preface of a connection.
	isuladHeaderTime = 10 * time.Second
	// messageTime is the time limit for a message that is read before the decision.
	messageTime = 10 * time.Second
	// maxMessage is the size limit in bytes of such a message, which is larger than that of rules.
	maxMessage = 1 << 20
	// maxMetadata is the size limit in bytes of a request's metadata. gRPC's default limit is 16 KiB.
	maxMetadata = 64 << 10
	// upstreamIdleTime is the time limit for an idle connection to iSulad.
	upstreamIdleTime = 30 * time.Second
	// streamBuffer is the number of bytes that are buffered for each direction of a stream.
	streamBuffer = 256 << 10
	// maxStreams is the number of calls at a time on a client's connection. A connection may buffer
	// what they all may, so that none waits for another.
	maxStreams = 100
)

// Isulad is a front of iSulad, which speaks gRPC: HTTP/2 with the status of a call in trailers.
type Isulad struct {
	Config
	server   *http.Server
	open     atomic.Int64
	failures atomic.Uint64
	interval time.Duration // verifyInterval, except in tests
}

// NewIsulad returns a front of iSulad.
func NewIsulad(c Config) *Isulad {
	f := &Isulad{Config: c, interval: verifyInterval}
	f.server = &http.Server{
		Handler:           http.HandlerFunc(f.serve),
		Protocols:         onlyHTTP2(),
		ReadHeaderTimeout: isuladHeaderTime,
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    maxMetadata,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams:          maxStreams,
			MaxReceiveBufferPerStream:     streamBuffer,
			MaxReceiveBufferPerConnection: streamBuffer * maxStreams,
		},
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, isuladKey{}, c)
		},
		ErrorLog: slog.NewLogLogger(c.Log.Handler(), slog.LevelDebug),
	}
	return f
}

// isuladKey is the key of an isuladConn in the context of its requests.
type isuladKey struct{}

// onlyHTTP2 returns HTTP/2 without TLS: a Conn hides the TLS below it.
func onlyHTTP2() *http.Protocols {
	p := new(http.Protocols)
	p.SetUnencryptedHTTP2(true)
	return p
}

// Serve serves the connections of a listener, which must be of the type *Conn, until Shutdown.
func (f *Isulad) Serve(l net.Listener) error {
	err := f.server.Serve(isuladListener{l, f})
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// Shutdown accepts no further connections and requests, and waits until the current requests end.
// When the context ends, it closes the connections that are left.
func (f *Isulad) Shutdown(ctx context.Context) error {
	if err := f.server.Shutdown(ctx); err != nil {
		return f.server.Close()
	}
	return nil
}

// Open returns the number of calls that were forwarded and have not ended.
func (f *Isulad) Open() int { return int(f.open.Load()) }

// Failures returns the number of calls that failed because of the connection to iSulad.
func (f *Isulad) Failures() uint64 { return f.failures.Load() }

// isuladConn is a client's connection with its own connections to iSulad: a client that does not
// read must not exhaust the flow control of others.
type isuladConn struct {
	*Conn
	upstream *http.Transport
}

// Close implements net.Conn.
func (c isuladConn) Close() error {
	c.upstream.CloseIdleConnections()
	return c.Conn.Close()
}

type isuladListener struct {
	net.Listener
	front *Isulad
}

// Accept implements net.Listener.
func (l isuladListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	conn, ok := c.(*Conn)
	if !ok {
		return nil, errors.Join(fmt.Errorf("connection is a %T, want *Conn", c), c.Close())
	}
	return isuladConn{conn, &http.Transport{
		DialContext:        dialContext(l.front.Upstream),
		Protocols:          onlyHTTP2(),
		HTTP2:              &http.HTTP2Config{MaxReceiveBufferPerStream: streamBuffer},
		DisableCompression: true,
		IdleConnTimeout:    upstreamIdleTime,
	}}, nil
}

// call is a call of a client.
type call struct {
	*Isulad
	conn     isuladConn
	asked    broker.Asked
	policies *policy.Set // of the last decision
}

// serve decides a call, and forwards it if it is allowed.
func (f *Isulad) serve(w http.ResponseWriter, r *http.Request) {
	c := &call{
		Isulad: f, conn: r.Context().Value(isuladKey{}).(isuladConn), policies: f.Policies.Current(),
	}
	record := f.Decide(action.Isulad, time.Now(), func(record *audit.Record) (broker.Asked, error) {
		err := c.parse(w, r, record)
		return c.asked, err
	})
	switch p := record.Decision.Policy; {
	case record.Decision.Allow || f.DryRun && record.Fault == audit.NoFault:
		c.forward(w, r)
	case p != nil && p.Message != "" && record.Problem == "":
		writeStatus(w, permissionDenied, p.Message)
	default:
		writeStatus(w, permissionDenied, record.Reason())
	}
}

// parse sets the client and the request.
func (c *call) parse(w http.ResponseWriter, r *http.Request, record *audit.Record) error {
	record.Method = r.URL.Path
	client, err := c.conn.Client(r.Context())
	if err != nil {
		return fmt.Errorf("identify the client: %w", err)
	}
	record.AuthMethod = client.Method
	c.asked = broker.Asked{Identity: client.Identity, Request: policy.IsuladRequest(r.URL.Path, nil)}
	if err := checkCall(r); err != nil || !policy.IsuladNeedsMessage(r.URL.Path) {
		return err
	}
	d := c.policies.Decide(c.asked.Identity, c.asked.Request)
	if d.Reason != policy.NoBody && !c.DryRun {
		return nil
	}
	message, err := readMessage(w, r)
	c.asked.Request = policy.IsuladRequest(r.URL.Path, message)
	return err
}

var methodPattern = regexp.MustCompile(`^/[\w.]+/\w+$`)

// checkCall returns an error if a request is not a gRPC call, whose target has no escapes.
func checkCall(r *http.Request) error {
	contentType := r.Header.Get("Content-Type")
	switch {
	case r.Method != http.MethodPost || r.RequestURI != r.URL.Path,
		!methodPattern.MatchString(r.URL.Path):
		return fmt.Errorf("%s %q is not a gRPC call", r.Method, r.RequestURI)
	case !strings.HasPrefix(contentType, "application/grpc"):
		return fmt.Errorf("Content-Type is %q, want application/grpc", contentType)
	}
	return nil
}

// remoteExec is the metadata with the arguments of RemoteExec, in its canonical form.
const remoteExec = "Isulad-Remote-Exec"

// readMessage returns the part of a request that rules examine: the message of a unary call, or the
// metadata of RemoteExec. The body can still be read afterwards.
func readMessage(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if strings.HasSuffix(r.URL.Path, "/RemoteExec") {
		if values := r.Header[remoteExec]; len(values) == 1 {
			return []byte(values[0]), nil
		}
		return nil, fmt.Errorf("the metadata %s must be given once", strings.ToLower(remoteExec))
	}
	c := http.NewResponseController(w)
	c.SetReadDeadline(time.Now().Add(messageTime))
	text, err := readUnary(r.Body)
	c.SetReadDeadline(time.Time{})
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil, broker.Late(fmt.Sprintf("the request did not arrive within %v", messageTime))
	}
	if err != nil {
		return nil, err
	}
	r.Body = io.NopCloser(bytes.NewReader(text))
	return text[grpcHeader:], nil
}

// readUnary reads a message with its header, which must be the only one.
func readUnary(body io.Reader) ([]byte, error) {
	var text bytes.Buffer
	if _, err := io.CopyN(&text, body, grpcHeader); err != nil {
		return nil, fmt.Errorf("read the message: %w", err)
	}
	size := binary.BigEndian.Uint32(text.Bytes()[1:])
	switch {
	case text.Bytes()[0] != 0:
		return nil, errors.New("a compressed message cannot be examined")
	case size > maxMessage:
		return nil, fmt.Errorf("the message has %d bytes, want at most %d", size, maxMessage)
	}
	// The buffer grows with what arrives, not with what the header promises.
	if _, err := io.CopyN(&text, body, int64(size)); err != nil {
		return nil, fmt.Errorf("read the message: %w", err)
	}
	switch n, err := io.CopyN(io.Discard, body, 1); {
	case n > 0:
		return nil, errors.New("the call has more than one message")
	case err != io.EOF:
		return nil, fmt.Errorf("read the message: %w", err)
	}
	return text.Bytes(), nil
}

// forward forwards the call to iSulad in the name of its user, and the answer.
func (c *call) forward(w http.ResponseWriter, r *http.Request) {
	c.open.Add(1)
	defer c.open.Add(-1)
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	// The transport notices the end of the context only when it does not wait for the body.
	defer context.AfterFunc(ctx, func() { r.Body.Close() })()
	user := c.asked.Name()
	go c.watch(ctx, cancel)
	proxy := httputil.ReverseProxy{
		Transport: c.conn.upstream,
		Rewrite:   func(p *httputil.ProxyRequest) { rewrite(p, user) },
		ModifyResponse: func(r *http.Response) error {
			if r.Body != http.NoBody { // else the status is in the headers
				r.Body = statusBody{r.Body, r, ctx, c}
			}
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			code, message := c.failure(ctx, err)
			writeStatus(w, code, message)
		},
		ErrorLog: c.server.ErrorLog,
	}
	proxy.ServeHTTP(w, r.WithContext(ctx))
}

// watch verifies the client of an open call at each interval, until the context ends. It cancels
// the call if it is no longer allowed.
func (c *call) watch(ctx context.Context, cancel context.CancelCauseFunc) {
	ticker := time.NewTicker(c.interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if err := c.verify(ctx); err != nil && ctx.Err() == nil {
			c.Log.Warn("stream closed", "user", c.asked.Name(), "reason", err)
			cancel(revoked{err})
		}
	}
}

// verify returns an error if the call is no longer allowed.
func (c *call) verify(ctx context.Context) error {
	client, err := c.conn.Client(ctx)
	if err != nil {
		return fmt.Errorf("identify the client: %w", err)
	}
	policies := c.Policies.Current()
	if policies == c.policies && reflect.DeepEqual(client.Identity, c.asked.Identity) {
		return nil
	}
	c.policies, c.asked.Identity = policies, client.Identity
	if d := policies.Decide(client.Identity, c.asked.Request); !d.Allow && !c.DryRun {
		return errors.New(d.Explain())
	}
	return nil
}

// revoked is the cancellation cause of a call that is no longer allowed.
type revoked struct{ error }

// rewrite prepares the request to iSulad: its target is the method, and the metadata from which
// iSulad takes the user for its plug-in has the verified user.
func rewrite(p *httputil.ProxyRequest, user string) {
	p.Out.URL = &url.URL{Scheme: "http", Host: "localhost", Path: p.In.URL.Path}
	p.Out.Host = p.Out.URL.Host
	p.Out.ContentLength = -1
	p.Out.Trailer = nil
	p.Out.Header.Del("Expect")
	// ReverseProxy keeps the transport from closing the body. If the connection to iSulad ends, the
	// transport would wait for the rest of the body before it reports that.
	if p.Out.Body != nil {
		p.Out.Body = p.In.Body
	}
	p.Out.Header.Set("TE", "trailers")
	p.Out.Header.Set("username", percentEncode(user))
	p.Out.Header.Set("tls_mode", "1")
}

// The codes of gRPC's status.
const (
	permissionDenied = 7
	unavailable      = 14
)

// failure returns the gRPC status of a call that failed.
func (c *call) failure(ctx context.Context, err error) (code int, message string) {
	var r revoked
	if errors.As(context.Cause(ctx), &r) {
		return permissionDenied, r.Error()
	}
	if ctx.Err() == nil {
		c.failures.Add(1)
	}
	return unavailable, "authz-broker front: connection to iSulad: " + err.Error()
}

// writeStatus ends a call with a status and without a message.
func writeStatus(w http.ResponseWriter, code int, message string) {
	h := w.Header()
	h.Set("Content-Type", "application/grpc")
	setStatus(h, code, message)
	w.WriteHeader(http.StatusOK)
}

func setStatus(h http.Header, code int, message string) {
	h.Set("Grpc-Status", strconv.Itoa(code))
	h.Set("Grpc-Message", percentEncode(message))
}

// percentEncode encodes a text for Grpc-Message: printable ASCII except % is unchanged.
func percentEncode(text string) string {
	var b strings.Builder
	for i := range len(text) {
		if c := text[i]; c < ' ' || c > '~' || c == '%' {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// statusBody is the body of a response. It turns a read error into the status of the call.
type statusBody struct {
	io.ReadCloser
	response *http.Response
	ctx      context.Context
	call     *call
}

// Read implements io.Reader.
func (b statusBody) Read(buffer []byte) (int, error) {
	n, err := b.ReadCloser.Read(buffer)
	if err == nil || err == io.EOF {
		return n, err
	}
	b.response.Trailer = make(http.Header)
	code, message := b.call.failure(b.ctx, err)
	setStatus(b.response.Trailer, code, message)
	return n, io.EOF
}
