package front

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"palisade/internal/authz/audit"
	"palisade/internal/authz/policy"
)

// Limits for the rest of a body after the answer.
const (
	drainTime  = time.Second
	maxDrained = 256 << 10
)

// serve decides a request, and forwards it.
func (f *Front) serve(w http.ResponseWriter, r *http.Request) {
	started := time.Now()
	x := &exchange{Front: f, w: w, r: r, release: func() {}}
	x.conn, _ = r.Context().Value(connKey{}).(*Conn)
	f.newConns.remove(x.conn)
	if x.conn != nil && x.conn.isRetired.Load() {
		panic(http.ErrAbortHandler) // what follows is the rest of a body
	}
	if r.ContentLength != 0 {
		// An answer need not wait for the end of the body.
		http.NewResponseController(w).EnableFullDuplex()
		defer x.retire()
	}
	defer func() { x.release() }()
	record := f.Decide(f.Engine, started, x.parse)
	if !x.isIdentified || x.out == nil || !record.Decision.Allow && !f.DryRun {
		x.deny(record)
		return
	}
	if err := x.setBody(record.Decision.Forward); err != nil {
		x.fail(http.StatusInternalServerError, "authz-broker: "+err.Error())
		return
	}
	x.forward()
}

// deny answers a request that is not forwarded.
func (x *exchange) deny(record *audit.Record) {
	message, code := record.Reason(), record.Decision.Status()
	switch p := record.Decision.Policy; {
	case record.Fault == audit.Panic:
		code = http.StatusInternalServerError
	case record.Fault != audit.NoFault && x.isIdentified:
		code = http.StatusBadRequest
	case p != nil && p.Message != "":
		message = p.Message
	}
	x.fail(code, "authorization denied by authz-broker: "+message)
}

// fail responds with an error, as the engines do: Docker sends only the message, Podman all fields.
func (x *exchange) fail(code int, message string) {
	text, _ := json.Marshal(struct { // strings can always be marshalled
		Message  string `json:"message"`
		Cause    string `json:"cause"`
		Response int    `json:"response"`
	}{message, message, code})
	h := x.w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(text)))
	x.w.WriteHeader(code)
	x.w.Write(text)
	x.drain()
}

// drain reads the rest of the body of a request that was answered, within limits. If a connection
// is closed with unread data, the client may lose the answer.
func (x *exchange) drain() {
	if x.r.ContentLength == 0 || x.isBodyRead || x.r.Header.Get("Expect") != "" {
		return
	}
	c := http.NewResponseController(x.w)
	c.Flush()
	c.SetReadDeadline(time.Now().Add(drainTime))
	_, err := io.CopyN(io.Discard, x.r.Body, maxDrained)
	x.isBodyRead = errors.Is(err, io.EOF)
}

// retire makes the request the last one of its connection, unless its body was read to the end.
// With full duplex net/http ignores errors from reading the rest of the body, and would parse it as
// a request.
func (x *exchange) retire() {
	if x.conn == nil {
		return
	}
	x.conn.isReadingBody.Store(false)
	if !x.isBodyRead {
		x.conn.isRetired.Store(true)
	}
}

// forward sends the request to the engine, and the engine's answer to the client.
func (x *exchange) forward() {
	defer x.watch()()
	if !x.mayHijack() {
		// net/http cancels the context when the client closes its side. One that is going to use the
		// connection both ways may do that already.
		defer context.AfterFunc(x.r.Context(), x.abort)()
	}
	upgrade := x.upgrade()
	resp, err := x.roundTrip()
	if err != nil {
		x.failures.Add(1)
		x.Log.Warn("no answer from the engine", "method", x.r.Method, "err", err)
		x.fail(http.StatusBadGateway, "authz-broker: no answer from the engine: "+err.Error())
		return
	}
	defer x.finish()
	switch {
	case resp.StatusCode == http.StatusSwitchingProtocols && upgrade == "":
		x.fail(http.StatusBadGateway, "authz-broker: unexpected status 101 from the engine")
	case resp.StatusCode == http.StatusSwitchingProtocols || x.isHijacked(resp):
		x.tunnel(resp)
	default:
		x.relay(resp)
	}
}

// setBody sets the body of the request to the engine: the examined bytes, if there are any, or what
// the policy replaces them with. It also applies the other changes of the policy.
func (x *exchange) setBody(changed *policy.Forward) (err error) {
	switch {
	case changed != nil && changed.Body != nil:
		if x.r.ContentLength != 0 && !x.isWhole {
			return errors.New("the body to replace was not read")
		}
		x.replaceBody(changed.Body)
	case x.isWhole:
		x.replaceBody(x.examined)
	case x.examined != nil: // --dry-run forwards what is too large as well
		x.out.Body = io.NopCloser(io.MultiReader(bytes.NewReader(x.examined), x.r.Body))
	case x.r.ContentLength == 0:
		x.out.Body = http.NoBody
	}
	if changed == nil {
		return nil
	}
	if changed.ContentType != "" {
		x.out.Header.Set("Content-Type", changed.ContentType)
	}
	x.out.URL, err = url.ParseRequestURI(changed.URI)
	return err
}

func (x *exchange) replaceBody(body []byte) {
	x.out.Body, x.out.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	if len(body) == 0 {
		x.out.Body = http.NoBody
	}
	x.out.TransferEncoding, x.out.Trailer = nil, nil
	delete(x.out.Header, "Expect")
}

// relay sends the answer to the client as it arrives.
func (x *exchange) relay(resp *http.Response) {
	if x.mayHijack() {
		defer context.AfterFunc(x.r.Context(), x.abort)()
	}
	h := x.w.Header()
	removeHopHeaders(resp.Header)
	for name, values := range resp.Header {
		h[name] = values
	}
	for _, name := range []string{"Content-Type", "Date"} {
		if _, ok := h[name]; !ok {
			h[name] = nil // net/http adds none
		}
	}
	for name := range resp.Trailer {
		h.Add("Trailer", name)
	}
	x.w.WriteHeader(resp.StatusCode)
	if err := x.copyBody(resp); err != nil {
		x.Log.Debug("answer interrupted", "method", x.r.Method, "err", err)
		panic(http.ErrAbortHandler) // the client must not take the answer for complete
	}
	for name, values := range resp.Trailer {
		h[name] = values
	}
	x.up.isReusable = !resp.Close
}

var buffers = sync.Pool{New: func() any { return new([bufferSize]byte) }}

// copyBody copies a body. A stream is flushed whenever there is nothing more to read.
func (x *exchange) copyBody(resp *http.Response) error {
	if resp.Body == http.NoBody {
		return nil
	}
	buffer := buffers.Get().(*[bufferSize]byte)
	defer buffers.Put(buffer)
	c := http.NewResponseController(x.w)
	if resp.ContentLength < 0 {
		c.Flush() // the head, before the first event
	}
	for {
		n, err := resp.Body.Read(buffer[:])
		if n > 0 {
			if _, err := x.w.Write(buffer[:n]); err != nil {
				return err
			}
			if resp.ContentLength < 0 {
				c.Flush()
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("read from the engine: %w", err)
		}
	}
}
