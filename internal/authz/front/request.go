package front

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http/httpguts"

	"palisade/internal/authz/action"
	"palisade/internal/authz/audit"
	"palisade/internal/authz/broker"
	"palisade/internal/authz/policy"
)

const (
	// maxBodyTime is the time limit for a body that rules examine.
	maxBodyTime = 10 * time.Second
	// largeSize is the size in bytes of a large body: parsing JSON needs a multiple of its size in
	// memory.
	largeSize = 256 << 10
	// maxLarge is the number of larger bodies in memory at a time.
	maxLarge = 4
)

var (
	errTooLarge  = fmt.Errorf("the body is larger than %d MiB", policy.MaxBody>>20)
	errLate      = broker.Late("the body did not arrive in time")
	errManyLarge = errors.New("too many requests with a large body at a time")
	errHTTP2     = errors.New("HTTP/2 is not supported")
)

// exchange is a request of a client, and its request to the engine.
type exchange struct {
	*Front
	w    http.ResponseWriter
	r    *http.Request
	conn *Conn // nil if the listener did not make the connection
	// isIdentified reports that the client is known.
	isIdentified bool
	client       Client
	policies     *policy.Set // of the last decision
	asked        broker.Asked
	// out is the request to the engine, built from the parsed one.
	out *http.Request
	// examined is the body, if it was read before the decision. It is incomplete after errTooLarge.
	examined []byte
	isWhole  bool
	// isBodyRead reports that the client's body was read to its end.
	isBodyRead  bool
	release     func()
	isVerifying atomic.Bool

	upMu      sync.Mutex
	up        *upstream // nil if the exchange has none
	isAborted bool
}

// parse identifies the client, and returns the request for the decision.
func (x *exchange) parse(record *audit.Record) (_ broker.Asked, err error) {
	record.Method, record.URI = x.r.Method, x.r.RequestURI
	if x.conn == nil {
		return x.asked, errors.New("the connection has no client")
	}
	if x.client, err = x.conn.Client(x.r.Context()); err != nil {
		return x.asked, fmt.Errorf("identify the client: %w", err)
	}
	x.isIdentified = true
	record.AuthMethod = x.client.Method
	x.asked.Identity = x.client.Identity
	if x.client.Method == "socket" && x.isOfPage() {
		return x.asked, errors.New("requests of web pages (Origin, or the name of a site in Host) " +
			"need a client certificate")
	}
	if err = x.rebuild(); err != nil {
		return x.asked, err
	}
	record.URI = x.out.URL.RequestURI()
	x.policies = x.Policies.Current()
	request := x.newRequest(nil)
	if x.r.ContentLength != 0 && (x.policies.NeedsBody(x.asked.Identity, request) ||
		x.Learn != nil && policy.NeedsBody(request.Action())) {
		if err = x.readBody(); err == nil {
			request = x.newRequest(x.examined)
		}
	}
	x.asked.Request = request.WithOwners(x.owners.For(x.r.Context()))
	return x.asked, err
}

// isOfPage reports whether a web page may have sent the request. A page whose site's name leads to
// this address sends no Origin with GET, but the name.
func (x *exchange) isOfPage() bool {
	if x.r.Header.Get("Origin") != "" {
		return true
	}
	host := (&url.URL{Host: x.r.Host}).Hostname()
	_, err := netip.ParseAddr(host)
	return x.conn.LocalAddr().Network() == "tcp" && err != nil && strings.Contains(host, ".") &&
		!strings.HasSuffix(host, ".localhost")
}

func (x *exchange) newRequest(body []byte) policy.Request {
	if x.Engine == action.Podman {
		return policy.PodmanRequest(x.r.Method, x.out.URL.RequestURI(), body)
	}
	return policy.DockerRequest(x.r.Method, x.out.URL.RequestURI(), body)
}

// rebuild builds the request to the engine. Its target is the one that the policies see, its
// framing is that of net/http, and it has no hop-by-hop headers.
func (x *exchange) rebuild() error {
	r := x.r
	if r.ProtoMajor != 1 {
		return errHTTP2
	}
	// The path is not the client's text, but what net/http parsed, in its canonical form.
	target := &url.URL{
		Path: r.URL.Path, RawPath: r.URL.RawPath,
		RawQuery: r.URL.RawQuery, ForceQuery: r.URL.ForceQuery,
	}
	if r.Method == http.MethodConnect || !strings.HasPrefix(target.Path, "/") {
		return errors.New("the target of the request is not a path")
	}
	// Some engines take ";" as a separator.
	if _, err := url.ParseQuery(target.RawQuery); err != nil {
		return fmt.Errorf("parse the query: %w", err)
	}
	x.out = &http.Request{
		Method: r.Method, URL: target, Host: "localhost", Header: r.Header, Body: r.Body,
		ContentLength: r.ContentLength, Trailer: r.Trailer,
	}
	if r.ContentLength < 0 {
		x.out.TransferEncoding = []string{"chunked"}
	}
	upgrade := ""
	if httpguts.HeaderValuesContainsToken(r.Header["Connection"], "upgrade") {
		upgrade = r.Header.Get("Upgrade")
	}
	removeHopHeaders(r.Header)
	if upgrade != "" {
		r.Header.Set("Upgrade", upgrade)
	}
	if _, ok := r.Header["User-Agent"]; !ok {
		r.Header["User-Agent"] = []string{""} // none, instead of net/http's
	}
	return x.checkForm()
}

// checkForm refuses options in the body: engines prefer them to those in the query, which the
// policies see.
func (x *exchange) checkForm() error {
	for _, value := range x.r.Header["Content-Type"] {
		value = strings.ToLower(strings.TrimSpace(value))
		if x.r.ContentLength != 0 && (strings.HasPrefix(value, "application/x-www-form-urlencoded") ||
			strings.HasPrefix(value, "multipart/")) {
			return fmt.Errorf("Content-Type %q: want application/json or a tar archive", value)
		}
	}
	return nil
}

// hopHeaders are the hop-by-hop headers, besides those that Connection lists. HTTP2-Settings
// belongs to an upgrade to h2c.
var hopHeaders = []string{
	"Connection", "Keep-Alive", "Proxy-Connection", "Proxy-Authenticate", "Proxy-Authorization",
	"Te", "Trailer", "Transfer-Encoding", "Upgrade", "Http2-Settings",
}

func removeHopHeaders(h http.Header) {
	for _, value := range h["Connection"] {
		for name := range strings.SplitSeq(value, ",") {
			h.Del(strings.TrimSpace(name))
		}
	}
	for _, name := range hopHeaders {
		delete(h, name)
	}
}

// readBody reads the body, within its limits.
func (x *exchange) readBody() error {
	c := http.NewResponseController(x.w)
	c.SetReadDeadline(time.Now().Add(x.bodyTime))
	var text bytes.Buffer
	_, err := text.ReadFrom(io.LimitReader(x.r.Body, largeSize+1))
	if err == nil && text.Len() > largeSize {
		select {
		case x.large <- struct{}{}:
			x.release = func() { <-x.large }
			_, err = text.ReadFrom(io.LimitReader(x.r.Body, policy.MaxBody-largeSize))
		case <-time.After(x.bodyTime):
			err = errManyLarge
		}
	}
	x.examined = text.Bytes()
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errLate
	case err != nil:
		return fmt.Errorf("read the body: %w", err)
	case len(x.examined) > policy.MaxBody:
		err = errTooLarge // --dry-run forwards it
	default:
		x.isWhole, x.isBodyRead = true, true
	}
	c.SetReadDeadline(time.Time{})
	return err
}
